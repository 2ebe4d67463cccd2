"""A trial's record as the ledger's JSON, and back. The format is that of raybench 0.1 (schema 1)."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from raybench.core.errors import UnknownNameError
from raybench.core.records import (
    CurvePoint,
    HparamValue,
    Pair,
    Stage,
    Task,
    TrialRecord,
    TrialStatus,
    metric_values,
)
from raybench.store.files.sealed_json import unseal

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrialFile:
    """The file's keys, as they are written. A pair is two keys, a value `split/metric[/condition]`."""

    schema: int
    trial_id: str
    experiment: str
    backbone: str
    task: str
    stage: Stage
    index: int
    hparams: dict[str, HparamValue]
    seed: int
    status: TrialStatus
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    chosen: dict[str, HparamValue] = field(default_factory=dict)
    edges: dict[str, str] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    """Per epoch: `epoch`, and `val/metric` for every metric."""
    grid: list[dict[str, HparamValue]] = field(default_factory=list)
    packed: dict[str, tuple[HparamValue, ...]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    evaluations: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    wall_seconds: float = 0.0
    started_at: float = 0.0


_SAME = tuple(
    name
    for name in (f.name for f in fields(_TrialFile))
    if name in {f.name for f in fields(TrialRecord)} and name not in ("curve", "grid")
)
"""Fields that file and record have in common."""


@functools.cache
def _adapter() -> "TypeAdapter[_TrialFile]":
    from pydantic import TypeAdapter  # Deferred: `raybench rank` reads no trial and starts without it.

    return TypeAdapter(_TrialFile)


def json_of_record(record: TrialRecord) -> dict[str, Any]:
    """The file's content."""
    return {
        "schema": SCHEMA_VERSION,
        **{name: getattr(record, name) for name in _SAME},
        "backbone": record.pair.backbone,
        "task": str(record.pair.task),
        "metrics": record.by_key,
        "curve": [_json_of_point(point) for point in record.curve],
        "grid": record.grid,
    }


def _json_of_point(point: CurvePoint) -> dict[str, float]:
    return {"epoch": point.epoch, **{f"val/{name}": value for name, value in point.metrics.items()}}


def record_from_json(content: bytes) -> TrialRecord:
    """Read a trial's file.

    Raises:
        ValueError: if it is damaged, foreign, or written by a later raybench.
    """
    file = _adapter().validate_json(unseal(content))
    if file.schema > SCHEMA_VERSION:
        raise ValueError(f"the record has schema {file.schema}, this raybench reads up to {SCHEMA_VERSION}")
    try:
        return TrialRecord(
            **{name: getattr(file, name) for name in _SAME},
            pair=Pair(backbone=file.backbone, task=Task.parse(file.task)),
            values=metric_values(file.metrics),
            curve=tuple(_point_of_json(point) for point in file.curve),
            grid=tuple(file.grid),
        )
    except (UnknownNameError, KeyError) as error:
        raise ValueError(f"the record cannot be read: {error}") from error


def _point_of_json(point: Mapping[str, float]) -> CurvePoint:
    metrics = {key.removeprefix("val/"): value for key, value in point.items() if key != "epoch"}
    return CurvePoint(epoch=int(point["epoch"]), metrics=metrics)
