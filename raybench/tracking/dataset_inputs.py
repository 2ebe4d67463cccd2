"""Datasets of MLflow runs: one input per split, as MLflow's dataset view shows them; MLflow is not loaded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raybench.core.records import Split

CONTEXTS: Mapping[Split, str] = {"train": "training", "val": "validation", "test": "testing"}
"""Split → MLflow's word for the use of a dataset."""
SOURCE_TYPES = {"folder": "local", "parquet": "local", "huggingface": "hugging_face"}
"""Kind of source → MLflow's type; all others are `code`: a function or a class of torchvision reads them."""
MAX_DIGEST = 36
"""MLflow's limit for a dataset's digest, characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInput:
    """One split that a run has read."""

    name: str
    digest: str
    """Beginning of the dataset's fingerprint, and the split: MLflow shows a digest once per run."""
    source_type: str
    source: str
    """JSON, as `mlflow.data.get_source` reads it."""
    context: str


def dataset_inputs(
    name: str, row: Mapping[str, Any], fingerprint: str, splits: Sequence[Split]
) -> tuple[DatasetInput, ...]:
    """One input per split.

    Args:
        name: of the dataset in tasks.
        row: of the stored spec; may be one that an earlier version wrote, or empty.
        fingerprint: of the dataset's content.
        splits: that the run has read.
    """
    source = row.get("source", {})
    flat = {"kind": source, "location": row.get("location", ""), "revision": row.get("revision")}
    record = source if isinstance(source, Mapping) else flat
    return tuple(
        DatasetInput(
            name=name,
            digest=f"{fingerprint[: MAX_DIGEST - 1 - len(split)]}-{split}",
            source_type=SOURCE_TYPES.get(record.get("kind", ""), "code"),
            source=json.dumps(_source(record, row.get("splits", {}).get(split, split))),
            context=CONTEXTS[split],
        )
        for split in splits
    )


def _source(record: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The source as MLflow writes one of its type."""
    kind, location = record.get("kind", ""), record.get("location", "")
    if kind in ("folder", "parquet"):
        return {"uri": location}
    if kind == "huggingface":
        return {"path": location, "revision": record.get("revision"), "split": split}
    return {"tags": {"raybench.reader": f"{kind}:{location}" if kind else "unknown"}}
