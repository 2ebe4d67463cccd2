"""What each evaluator measured: headline, all metrics, curves and warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.evaluators.info import EvaluatorInfo
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import DuplicateMeasurementError
from raybench.core.records import Pair, TrialRecord
from raybench.report.gather.criteria import CLEAN, with_category
from raybench.report.gather.seed_means import best_first, seed_means
from raybench.report.gather.sources import Results
from raybench.report.gather.uncertainty import estimate_uncertainty
from raybench.store.artifacts import read_curves
from raybench.store.files import StoragePath, map_concurrently

INTERVALS = pl.Schema(
    {
        "backbone": pl.String,
        "task": pl.String,
        "condition": pl.String,
        "low": pl.Float64,
        "high": pl.Float64,
    }
)


@dataclass(frozen=True, kw_only=True)
class EvaluatorResults:
    """What one evaluator measured. Frames are empty where it measured nothing."""

    info: EvaluatorInfo
    headline: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Means over seeds of its headline metric, with the interval `low`, `high` (null where unknown)."""
    uncertainty_note: str = ""
    """What was resampled for the intervals, or why there are none."""
    metrics: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Means over seeds of all its metrics, columns as `seed_means.MEANS`."""
    curves: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """Curve name → its rows with backbone and task, first seed of each pair."""
    warnings: Sequence[str] = ()
    problem: str = ""
    """Why its measurements cannot be shown."""

    @property
    def is_empty(self) -> bool:
        return self.headline.is_empty() and not self.curves and not self.warnings


@dataclass(frozen=True, slots=True)
class _StoredCurves:
    """Curves and warnings that one evaluator stored for one trial."""

    evaluator: str
    pair: Pair
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    warnings: Sequence[str]


def evaluator_results(
    results: Results, tasks: Sequence[str], trials: Sequence[tuple[StoragePath, TrialRecord]]
) -> dict[str, EvaluatorResults]:
    """Results by evaluator, in the order of EVALUATORS.

    Args:
        results: of one source or several.
        tasks: only these.
        trials: (storage, record) of the trials in the storages' ledgers.
    """
    on_test = results.measurements.filter(pl.col("task").is_in(list(tasks)), split="test")
    stored = _read_first_seeds(results.measurements, trials)
    return {
        name: _one_evaluator(info, results, on_test, [kept for kept in stored if kept.evaluator == name])
        for name, info in EVALUATORS.items()
    }


def _one_evaluator(
    info: EvaluatorInfo, results: Results, on_test: pl.DataFrame, stored: Sequence[_StoredCurves]
) -> EvaluatorResults:
    warnings = [f"{s.pair.backbone} on {s.pair.task}: {text}" for s in stored for text in s.warnings]
    stored_only = EvaluatorResults(info=info, curves=_curve_frames(stored), warnings=warnings)
    try:
        metrics = on_test.pipe(_measured_by, info).pipe(seed_means).pipe(best_first)
    except DuplicateMeasurementError as error:
        return replace(stored_only, problem=str(error))
    headline, note = _with_intervals(metrics.filter(metric=info.headline), results)
    return replace(stored_only, metrics=metrics, headline=headline, uncertainty_note=note)


def _measured_by(on_test: pl.DataFrame, info: EvaluatorInfo) -> pl.DataFrame:
    """Rows of the evaluator's headline and of the metrics that no other evaluator declares.

    The table does not say which evaluator measured a row, and `accuracy` under shift and under corruption
    belong to two. A protocol's own metrics on clean images are not an evaluator's.
    """
    others = {m for other in EVALUATORS.values() if other.name != info.name for m in other.metrics}
    names = [m for m in info.metrics if m == info.headline or m not in others]
    of_protocols = [m for protocol in PROTOCOLS.values() for m in protocol.metrics]
    is_of_protocol = (pl.col("condition") == CLEAN) & pl.col("metric").is_in(of_protocols)
    return on_test.filter(pl.col("metric").is_in(names), ~is_of_protocol)


def _with_intervals(headline: pl.DataFrame, results: Results) -> tuple[pl.DataFrame, str]:
    """Add `low` and `high`, and say what was resampled (under the first condition)."""
    intervals, notes = [], []
    for (condition,), scores in sorted(headline.group_by("condition")):
        uncertainty = estimate_uncertainty(with_category(scores), results, condition=str(condition))
        notes.append(uncertainty.note)
        if uncertainty.replicates is not None:
            scored = uncertainty.score_intervals().with_columns(condition=pl.lit(condition))
            intervals.append(scored.select(INTERVALS.names()))
    empty = pl.DataFrame(schema=INTERVALS)
    keys = ["backbone", "task", "condition"]
    joined = headline.join(pl.concat([empty, *intervals]), on=keys, how="left", maintain_order="left")
    first = ("backbone", "task", "value", "low", "high")
    return joined.select(*first, pl.exclude(first)), notes[0] if notes else ""


def _read_first_seeds(
    measurements: pl.DataFrame, trials: Sequence[tuple[StoragePath, TrialRecord]]
) -> list[_StoredCurves]:
    """Curves and warnings of each pair's first final trial whose measurements have not been withdrawn."""
    current = set(measurements["trial_id"])
    first: dict[Pair, tuple[StoragePath, TrialRecord]] = {}
    for storage, record in trials:
        if record.stage == "final" and record.trial_id in current:
            first.setdefault(record.pair, (storage, record))
    entries = [(storage, record, name) for storage, record in first.values() for name in record.evaluations]

    def read(entry: tuple[StoragePath, TrialRecord, str]) -> _StoredCurves:
        storage, record, name = entry
        stored = read_curves(storage, record.experiment, record.trial_id, name)
        return _StoredCurves(name, record.pair, stored["curves"], stored["warnings"])

    return map_concurrently(read, entries, *(storage for storage, _, _ in entries))


def _curve_frames(stored: Sequence[_StoredCurves]) -> dict[str, pl.DataFrame]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for kept in stored:
        pair = {"backbone": kept.pair.backbone, "task": str(kept.pair.task)}
        for name, points in kept.curves.items():
            rows.setdefault(name, []).extend({**pair, **point} for point in points)
    return {name: pl.DataFrame(points, infer_schema_length=None) for name, points in rows.items() if points}
