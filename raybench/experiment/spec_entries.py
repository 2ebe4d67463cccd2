"""Catalogue rows as entries of a spec file that is read from another folder."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import find_backbone
from raybench.catalog.dataset_info import DatasetInfo, Queries
from raybench.catalog.dataset_sources import FolderSource, ParquetSource
from raybench.catalog.datasets import DATASETS
from raybench.core.errors import UnknownNameError
from raybench.core.records import Task

_DATASET_KEYS = ("val_fraction", "examples_per_class", "unreadable")
_BACKBONE_KEYS = ("timm", "checkpoint", "kwargs", "family", "method", "pretrain_data", "pretrain_images")


def backbone_entry(info: BackboneInfo) -> str | dict[str, Any]:
    """Its name if that identifies the row, else the row as a spec writes it."""
    # Random weights have no other form in a spec than their name.
    if info.weights == "random" or info == BackboneInfo.of_timm(info.name):
        return info.name
    try:
        if find_backbone(info.name).name == info.name:
            return info.name
    except UnknownNameError:
        pass
    blank = BackboneInfo.of_timm(info.timm)
    changed = {key: getattr(info, key) for key in _BACKBONE_KEYS if getattr(info, key) != getattr(blank, key)}
    entry = {"name": info.name, "timm": info.timm, **changed}
    if info.preprocessing:
        entry["preprocessing"] = dict(info.preprocessing)
    return {key: _plain(value) for key, value in entry.items()}


def task_entry(task: Task, dataset: DatasetInfo) -> str:
    """`protocol@dataset`; a path in it is made absolute."""
    prefix, colon, _ = task.dataset.partition(":")
    is_path = colon and isinstance(dataset.source, FolderSource | ParquetSource)
    return f"{task.protocol}@{prefix}:{dataset.source.location}" if is_path else str(task)


def dataset_entries(info: DatasetInfo) -> dict[str, Any]:
    """The key `datasets` with this dataset; empty if the catalogue or the dataset's own name describes it."""
    if info.name in DATASETS or ":" in info.name:
        return {}
    source = asdict(info.source)
    entry: dict[str, Any] = {source.pop("kind"): source.pop("location"), "splits": info.splits}
    for record, keys in ((info, _DATASET_KEYS), (info.source, tuple(source))):
        default = {field.name: field.default for field in fields(record)}
        entry |= {key: getattr(record, key) for key in keys if getattr(record, key) != default[key]}
    if info.queries is not None:
        defaults = asdict(Queries(kind=info.queries.kind)) | {"kind": None}
        queries = asdict(info.queries)
        entry["queries"] = {key: value for key, value in queries.items() if value != defaults[key]}
    return {"datasets": {info.name: _plain(entry)}}


def _plain(value: Any) -> Any:
    """Nested lists and dicts only, which YAML's safe dumper can write."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
