"""What a run shows, as plain data: `TrialRecord` → `RunContent`. Knows MLflow's rules without loading it."""

import csv
import functools
import io
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from raybench.catalog.tasks import parse_task
from raybench.core.records import Pair, TrialRecord, digest_of

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

PRETRAIN_IMAGES_TAG = "raybench.pretrain_images"
SPEC_DIGEST_TAG = "raybench.spec_digest"
MEASUREMENTS_TAG = "raybench.measurements"
MEASUREMENTS_FILE = "measurements.csv"
"""Rows of the measurement table that a final trial's run holds: how many, and the rows."""
MAX_KEY = 250
MAX_PARAM = 6000
MAX_TAG = 8000
"""Characters MLflow takes for a metric or parameter name, a parameter value and a tag value."""


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
    """What every run of an experiment is tagged with, beside its own."""

    experiment: str
    storage_id: str
    spec_digest: str = ""
    backbones: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Backbone → its `family`, `method` and, where they are known, `pretrain_images`."""
    tasks: tuple[str, ...] = ()
    """`protocol@dataset` names, in the spec's order."""


@dataclass(frozen=True, kw_only=True)
class RunContent:
    """One MLflow run, complete. Made of the ledger alone, so a rebuilt run equals the live one."""

    key: str
    """Identity among the experiment's runs: trial id, pair slug, or `summary`."""
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
    """Name and fingerprint of the dataset measured on."""

    @functools.cached_property
    def digest(self) -> str:
        """Equal for equal content; a tag on the run, so that nothing is written twice."""
        points = [(point.key, point.value, point.step, point.timestamp) for point in self.points]
        params, files = dict(self.params), dict(self.files)
        # A spec that was extended since leaves a finished trial as it is.
        tags = {name: value for name, value in self.tags.items() if name != SPEC_DIGEST_TAG}
        return digest_of([self.name, tags, params, points, self.status, self.end, files, self.dataset])


def trial_content(
    record: TrialRecord, labels: Labels, measurements: Sequence[Mapping[str, Any]] = ()
) -> RunContent:
    """The child run of a trial: parameters, final values, learning curve, packed grid.

    Final values are named as everywhere (`val/accuracy`), the learning curve `curve/val/accuracy`: MLflow's
    run table shows the last step of a metric, which need not be the best epoch's.

    Args:
        record: the ledger's.
        labels: the experiment's.
        measurements: the rows of a final trial in the measurement table. They go along as a file, to the last
            digit and with conditions that a metric's name cannot spell; a tag says how many there are.
    """
    end = milliseconds(record.started_at + record.wall_seconds)
    values = {**record.metrics, "wall_seconds": record.wall_seconds}
    final = [Point(key=key, value=float(value), step=0, timestamp=end) for key, value in values.items()]
    params = {**record.hparams, **{f"chosen.{name}": value for name, value in record.chosen.items()}}
    return RunContent(
        key=record.trial_id,
        name=f"{record.stage}-{record.index:03d} {record.backbone} {record.task}",  # The charts' legends.
        tags={
            **pair_tags(Pair(backbone=record.backbone, task=record.task), labels),
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
    )


def pair_tags(pair: Pair, labels: Labels) -> dict[str, str]:
    """The tags that every level repeats: the UI's filters do not follow nesting.

    Those that people filter by stand twice, plainly (`tags.family = 'cnn'`) and as `raybench.family`.
    """
    task = parse_task(pair.task)
    known = labels.backbones.get(pair.backbone, {})
    plain = {"backbone": pair.backbone, "task": pair.task, "family": known.get("family", "unknown")}
    full = {
        **plain,
        "experiment": labels.experiment,
        "protocol": task.protocol.name,
        "dataset": task.dataset,
        "method": known.get("method", "unknown"),
        "storage_id": labels.storage_id,
    }
    tags = {**plain, **{f"raybench.{name}": value for name, value in full.items()}}
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
        passed = record.wall_seconds * position / len(record.curve)
        timestamp = milliseconds(record.started_at + passed)
        step = int(entry.get("epoch", position))
        points += [
            Point(key=f"curve/{key}", value=float(value), step=step, timestamp=timestamp)
            for key, value in entry.items()
            if key != "epoch"
        ]
    return points


def _safe_points(points: Sequence[Point]) -> tuple[Point, ...]:
    keys = list(dict.fromkeys(point.key for point in points))
    safe = dict(zip(keys, safe_keys(keys), strict=True))
    return tuple(
        Point(key=safe[point.key], value=point.value, step=point.step, timestamp=point.timestamp)
        for point in points
    )


def safe_keys(keys: Iterable[str]) -> list[str]:
    """Names as MLflow takes them: letters, digits, `_-. :/`, no `..`, no `//`; distinct ones stay distinct.

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
    """A table as MLflow's artifact viewer shows it; columns in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(row) for row in rows)
    return text.getvalue()


def milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # MLflow reads 0 as "not given" and puts the clock there.
