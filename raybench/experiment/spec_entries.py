"""Catalogue rows as entries of a spec file that is read from another folder."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import find_backbone, split_random
from raybench.catalog.dataset_info import DatasetInfo, Queries, Shift
from raybench.catalog.dataset_sources import FolderSource, ParquetSource
from raybench.catalog.datasets import DATASETS
from raybench.catalog.evaluators.info import EvaluatorSettings
from raybench.core.errors import UnknownNameError
from raybench.core.records import Pair, Task
from raybench.spec.experiment import ExperimentSpec

_DATASET_KEYS = ("val_fraction", "examples_per_class", "unreadable", "test_only", "licence", "citation")
_BACKBONE_KEYS = (
    *("timm", "checkpoint", "kwargs", "family", "method", "pretrain_data", "pretrain_images", "params_m"),
    *("licence", "citation"),
)


def backbone_entry(info: BackboneInfo) -> str | dict[str, Any]:
    """Its name if that identifies the row, else the row as a spec writes it."""
    plain = replace(info, family="unknown", params_m=None)  # Both are derived from the architecture.
    if plain == BackboneInfo.of_timm(info.name) or _is_twin_of_timm(info):
        return info.name
    try:
        row = find_backbone(info.name)
        if (row.timm, dict(row.kwargs), row.entry_point) == (info.timm, dict(info.kwargs), info.entry_point):
            return info.name
    except UnknownNameError:
        pass
    blank = BackboneInfo.of_timm(info.timm)
    changed = {key: getattr(info, key) for key in _BACKBONE_KEYS if getattr(info, key) != getattr(blank, key)}
    entry = {"name": info.name, "timm": info.timm, **changed}
    if info.weights == "random":
        entry["random"] = info.init_seed
    if info.preprocessing:
        entry["preprocessing"] = dict(info.preprocessing)
    return {key: _plain(value) for key, value in entry.items()}


def _is_twin_of_timm(info: BackboneInfo) -> bool:
    """Whether it is the random twin of timm's own architecture, which its name identifies."""
    return info.weights == "random" and info.timm == split_random(info.name)[0] and not info.kwargs


def task_entry(spec: ExperimentSpec, task: Task) -> str:
    """`protocol@dataset`; a path in it is made absolute."""
    return f"{task.protocol}@{_absolute_name(spec, task.dataset)}"


def evaluator_entry(spec: ExperimentSpec, name: str, settings: EvaluatorSettings) -> str | dict[str, Any]:
    """The evaluator with every setting, defaults included; only its name if it has no settings.

    Paths in names of datasets are made absolute.
    """
    absolute = {dataset: _absolute_name(spec, dataset) for dataset in settings.dataset_names}
    every = _plain(asdict(settings))  # type: ignore[call-overload]
    return {name: _renamed(every, absolute)} if every else name


def dataset_entries(spec: ExperimentSpec, pair: Pair) -> dict[str, Any]:
    """The key `datasets` with those of the pair's task, its shifts and its evaluators.

    Datasets that the catalogue or their own names describe need no entry.
    """
    evaluators = spec.evaluators_of(pair.task.protocol).values()
    names = [pair.task.dataset, *(name for settings in evaluators for name in settings.dataset_names)]
    for name in names:  # Grows by shifted test sets.
        names += [shifted for shifted in spec.datasets[name].shifts if shifted not in names]
    needed = {name: spec.datasets[name] for name in names if not (name in DATASETS or ":" in name)}
    entries = {name: _dataset_entry(spec, info) for name, info in needed.items()}
    return {"datasets": entries} if entries else {}


def _dataset_entry(spec: ExperimentSpec, info: DatasetInfo) -> dict[str, Any]:
    source = asdict(info.source)
    entry: dict[str, Any] = {source.pop("kind"): source.pop("location"), "splits": info.splits}
    for record, keys in ((info, _DATASET_KEYS), (info.source, tuple(source))):
        default = {field.name: field.default for field in fields(record)}
        entry |= {key: getattr(record, key) for key in keys if getattr(record, key) != default[key]}
    if info.shifts:
        shifts = info.shifts.items()
        entry["shifts"] = {_absolute_name(spec, name): _changed(shift, Shift()) for name, shift in shifts}
    if info.queries is not None:
        entry["queries"] = _changed(info.queries, Queries(kind=info.queries.kind)) | {
            "kind": info.queries.kind
        }
    return {key: _plain(value) for key, value in entry.items()}


def _absolute_name(spec: ExperimentSpec, name: str) -> str:
    """`folder:PATH` or `parquet:PATH` with an absolute path; any other name as it is."""
    prefix, colon, _ = name.partition(":")
    source = spec.datasets[name].source
    is_path = colon and isinstance(source, FolderSource | ParquetSource)
    return f"{prefix}:{source.location}" if is_path else name


def _changed(record: Shift | Queries, default: Shift | Queries) -> dict[str, Any]:
    """The fields that differ from the default."""
    values = asdict(default)
    return {key: value for key, value in asdict(record).items() if value != values[key]}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The value with names of datasets replaced, at any depth of lists."""
    if isinstance(value, dict):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Nested lists and dicts only, which YAML's safe dumper can write."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
