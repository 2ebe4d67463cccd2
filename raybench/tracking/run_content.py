"""Content of MLflow runs as plain data (`TrialRecord` → `RunContent`); MLflow is not loaded."""

import csv
import dataclasses
import functools
import io
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from raybench.core.csv_cells import neutral_cell
from raybench.core.records import Pair, TrialRecord, digest_of
from raybench.tracking.dataset_inputs import DatasetInput

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

PRETRAIN_IMAGES_TAG = "raybench.pretrain_images"
SPEC_DIGEST_TAG = "raybench.spec_digest"
MEASUREMENTS_TAG = "raybench.measurements"
"""Number of measurements of a final trial, in its run's `MEASUREMENTS_FILE`."""
MEASUREMENTS_FILE = "measurements.csv"
"""Artifact with a final trial's rows of the measurement table."""
MAX_KEY = 250
"""MLflow's limit for names of metrics and parameters, characters."""
MAX_PARAM = 6000
"""MLflow's limit for a parameter's value, characters."""
MAX_TAG = 8000
"""MLflow's limit for a tag's value, characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    step: int
    timestamp: int
    """Milliseconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Tags shared by all runs of an experiment."""

    experiment: str
    storage_id: str
    spec_digest: str = ""
    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Backbone → its row in the stored spec: `family`, `method`, `pretrain_images`, if known."""
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Dataset → its row in the stored spec."""
    tasks: tuple[str, ...] = ()
    """`protocol@dataset` names, in the spec's order."""
    objective: str | None = None
    """Metric that the searches optimise; None: each protocol's own."""


@dataclass(frozen=True, kw_only=True)
class RunContent:
    """One complete MLflow run, made from the ledger alone: a rebuilt run equals the live one."""

    key: str
    """Unique within the experiment: trial id, pair slug, or `summary`."""
    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    status: RunStatus
    start: int
    end: int
    """Milliseconds since the epoch, UTC."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Artifact path → text."""
    dataset: tuple[str, str] | None = None
    """Name and fingerprint of the evaluated dataset; of a pair's run."""
    inputs: tuple[DatasetInput, ...] = ()
    """Splits that the run has read; not part of the digest, because runs of earlier versions have none."""

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the content, stored as a tag of the run so that nothing is written twice."""
        points = [(point.key, point.value, point.step, point.timestamp) for point in self.points]
        params, files = dict(self.params), dict(self.files)
        # Extending the spec must not change the digest of finished trials.
        tags = {name: value for name, value in self.tags.items() if name != SPEC_DIGEST_TAG}
        return digest_of([self.name, tags, params, points, self.status, self.end, files, self.dataset])


def trial_content(
    record: TrialRecord,
    labels: Labels,
    measurements: Sequence[Mapping[str, Any]] = (),
    inputs: tuple[DatasetInput, ...] = (),
) -> RunContent:
    """Child run of a trial: parameters, final values, learning curve, packed grid.

    Final values keep their names (`val/accuracy`); the learning curve is `curve/val/accuracy`, because
    MLflow's run table shows the last step of a metric, which need not be the best epoch.

    Args:
        record: the trial's record in the ledger.
        labels: the experiment's labels.
        measurements: the final trial's rows of the measurement table. They are attached as a file, with all
            digits and with conditions that metric names cannot spell; a tag holds their number.
        inputs: splits that the trial has read.
    """
    end = milliseconds(record.started_at + record.wall_seconds)
    values = {**record.by_key, "wall_seconds": record.wall_seconds}
    final = [Point(key=key, value=float(value), step=0, timestamp=end) for key, value in values.items()]
    params = {**record.hparams, **{f"chosen.{name}": value for name, value in record.chosen.items()}}
    return RunContent(
        key=record.trial_id,
        name=f"{record.stage}-{record.index:03d} {record.pair.backbone} {record.pair.task}",
        tags={
            **pair_tags(record.pair, labels),
            **_trial_tags(record),
            **({MEASUREMENTS_TAG: str(len(measurements))} if record.stage == "final" else {}),
        },
        params={
            key: str(value)[:MAX_PARAM] for key, value in zip(safe_keys(params), params.values(), strict=True)
        },
        points=_safe_points([*final, *_curve_points(record)]),
        status="FAILED" if record.status == "failed" else "FINISHED",
        start=milliseconds(record.started_at),
        end=end,
        files={
            **({"grid.csv": as_csv(record.grid)} if record.grid else {}),
            **({MEASUREMENTS_FILE: as_csv(measurements)} if measurements else {}),
        },
        inputs=inputs,
    )


def pair_tags(pair: Pair, labels: Labels) -> dict[str, str]:
    """Tags of a pair's run and of its trials' runs: the UI's filters ignore nesting.

    Tags that people filter by exist twice, as `family` and as `raybench.family`.
    """
    row = labels.backbones.get(pair.backbone, {})
    plain = {"backbone": pair.backbone, "task": str(pair.task), "family": row.get("family", "unknown")}
    prefixed = {
        **plain,
        "experiment": labels.experiment,
        "protocol": pair.task.protocol,
        "dataset": pair.task.dataset,
        "method": row.get("method", "unknown"),
        "storage_id": labels.storage_id,
    }
    tags = {**plain, **{f"raybench.{name}": value for name, value in prefixed.items()}}
    return {**tags, SPEC_DIGEST_TAG: labels.spec_digest, "mlflow.source.name": "raybench"}


def _trial_tags(record: TrialRecord) -> dict[str, str]:
    tags = {
        "raybench.kind": "trial",
        "raybench.trial_id": record.trial_id,
        "raybench.stage": record.stage,
        "raybench.seed": str(record.seed),
        "raybench.status": record.status,
    }
    if record.reason:
        tags["raybench.reason"] = record.reason[:MAX_TAG]
    if record.edges:
        tags["raybench.edges"] = ", ".join(f"{name}: {end}" for name, end in sorted(record.edges.items()))
    return tags


def _curve_points(record: TrialRecord) -> list[Point]:
    points = []
    for position, entry in enumerate(record.curve, start=1):
        elapsed = record.wall_seconds * position / len(record.curve)
        timestamp = milliseconds(record.started_at + elapsed)
        points += [
            Point(key=f"curve/val/{name}", value=float(value), step=entry.epoch, timestamp=timestamp)
            for name, value in entry.metrics.items()
        ]
    return points


def _safe_points(points: Sequence[Point]) -> tuple[Point, ...]:
    keys = list(dict.fromkeys(point.key for point in points))
    safe = dict(zip(keys, safe_keys(keys), strict=True))
    return tuple(dataclasses.replace(point, key=safe[point.key]) for point in points)


def safe_keys(keys: Iterable[str]) -> list[str]:
    """Metric and parameter names that MLflow accepts; distinct names stay distinct.

    Allowed are letters, digits and `_-. :/`, but neither `..` nor `//`.

    >>> safe_keys(["val/accuracy", "test/accuracy/linf_pgd(eps=8/255)", "a", "a?"])
    ['val/accuracy', 'test/accuracy/linf_pgd_eps_8/255', 'a', 'a-...']
    """
    safe: list[str] = []
    for key in keys:
        name = posixpath.normpath(re.sub(r"[^/\w.\- :]+", "_", key).strip("/_")).replace("..", "_")
        if len(name) > MAX_KEY or name in safe or name == ".":
            name = f"{name[: MAX_KEY - 9]}-{digest_of(key, 8)}"
        safe.append(name)
    return safe


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV text, formulas neutralised; columns in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: neutral_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in rows
    )
    return text.getvalue()


def milliseconds(seconds: float) -> int:
    """Timestamp for MLflow, at least 1: MLflow takes 0 for "not given" and inserts the current time."""
    return max(1, round(seconds * 1000))
