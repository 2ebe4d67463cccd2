"""Uncertainty of a ranking: bootstrap replicates of the scores, from stored outputs or from seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from raybench.analysis import intervals
from raybench.analysis.aggregate_ranking import RankingRule
from raybench.analysis.bootstrap import Array, Replicates, Seeds, example_means, replicate
from raybench.core.errors import EmptyInputError
from raybench.metrics import METRICS, Metric
from raybench.metrics.resampling import NotResampled
from raybench.report.gather.criteria import CLEAN
from raybench.report.gather.sources import Results
from raybench.report.gather.stored_outputs import stored_statistics


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Replicates of a ranking's scores, and its intervals by one rule."""

    replicates: Replicates | None
    note: str
    """What was resampled, or why nothing was."""
    rule: RankingRule = field(default_factory=RankingRule)
    weights: Array | None = None
    """Weights of the replicates' tasks; None: equal."""
    negated: frozenset[str] = frozenset()
    """Tasks whose values have the opposite sign in the replicates, so that higher is better."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Task → smallest and largest value that its metric can have."""
    constant: frozenset[str] = frozenset()
    """Tasks of which nothing could be resampled: their scores have no interval."""

    def ranking_intervals(self, *, top: int = 3) -> pl.DataFrame:
        """`intervals.ranking_intervals` by the rule."""
        return intervals.ranking_intervals(
            self._replicates(), top=top, ddof=self.rule.ddof, weights=self.weights
        )

    def win_probabilities(self) -> pl.DataFrame:
        """`intervals.win_probabilities` by the rule."""
        return intervals.win_probabilities(self._replicates(), ddof=self.rule.ddof, weights=self.weights)

    def best_probabilities(self, names: Sequence[str]) -> pl.DataFrame:
        """`intervals.best_probabilities` by the rule."""
        return intervals.best_probabilities(
            self._replicates(), names, ddof=self.rule.ddof, weights=self.weights
        )

    def score_intervals(self) -> pl.DataFrame:
        """`intervals.score_intervals` in the metric's own sign and bounds; null where nothing was resampled.

        Seed noise is unbounded: the displayed interval is clipped to the metric's range, not the replicates.
        """
        is_negated = pl.col("task").is_in(list(self.negated))
        is_resampled = ~pl.col("task").is_in(list(self.constant))
        cells = intervals.score_intervals(self._replicates()).with_columns(
            value=pl.when(is_negated).then(-pl.col("value")).otherwise("value"),
            low=pl.when(is_negated).then(-pl.col("high")).otherwise("low"),
            high=pl.when(is_negated).then(-pl.col("low")).otherwise("high"),
        )
        lowest, highest = (
            pl.col("task").replace_strict({task: ends[i] for task, ends in self.bounds.items()}, default=end)
            for i, end in enumerate((-np.inf, np.inf))
        )
        return cells.with_columns(pl.col("low", "high").clip(lowest, highest)).with_columns(
            pl.when(is_resampled).then(pl.col("low", "high", "standard_error")).otherwise(None)
        )

    def _replicates(self) -> Replicates:
        if self.replicates is None:
            raise EmptyInputError(self.note)
        return self.replicates


@dataclass(frozen=True, slots=True, kw_only=True)
class _TaskStatistics:
    """Statistics of one task for the bootstrap."""

    task: str
    metric: Metric
    source: Literal["examples", "seeds", "constant", "incomplete"]
    """Test examples; scores of seeds; nothing, as the seeds agree; nothing, as a backbone has no score."""
    statistics: Sequence[Seeds] = ()

    @property
    def has_several_seeds(self) -> bool:
        return any(len(seeds) > 1 for seeds in self.statistics)


def estimate_uncertainty(
    scores: pl.DataFrame,
    results: Results,
    *,
    condition: str = CLEAN,
    rule: RankingRule | None = None,
    num_replicates: int = 1000,
) -> Uncertainty:
    """Resample the scores of all tasks that every backbone has.

    Test examples are resampled where every backbone stored outputs of the same ones; elsewhere the scores of
    the seeds alone. There are no replicates where neither varies.

    Args:
        scores: columns read: backbone, task, category, metric, direction, value.
        results: the measurement table that the scores come from, and the storages with the outputs.
        condition: under which the scores were measured; outputs are stored for `clean` only.
        rule: the ranking's.
        num_replicates: number of bootstrap replicates.

    Raises:
        StorageError: if stored outputs cannot be read.
    """
    rule = rule or RankingRule()
    if results.published is not None:
        note = "The published table holds one number per cell and no test examples, so there is no interval."
        return Uncertainty(replicates=None, note=note, rule=rule)
    backbones = scores["backbone"].unique().sort().to_list()
    tasks = [
        _statistics_of(str(task), group["metric"][0], backbones, results, condition)
        if group.height == len(backbones)
        else _TaskStatistics(task=str(task), metric=METRICS[group["metric"][0]], source="incomplete")
        for (task,), group in sorted(scores.group_by("task"))
    ]
    complete = {entry.task: entry for entry in tasks if entry.source != "incomplete"}
    problem = _why_no_replicates(list(complete.values()), backbones)
    if problem:
        return Uncertainty(replicates=None, note=problem, rule=rule)
    negated = {
        name for name, entry in complete.items() if rule.turns_sign and entry.metric.direction == "min"
    }
    return Uncertainty(
        replicates=replicate(
            {name: entry.statistics for name, entry in complete.items()},
            backbones,
            lower_is_better=negated,
            num_replicates=num_replicates,
        ),
        note=_note(tasks, num_replicates),
        rule=rule,
        weights=_weights(scores, sorted(complete)) if rule.mean == "macro" else None,
        negated=frozenset(negated),
        bounds={entry.task: entry.metric.bounds for entry in tasks},
        constant=frozenset(name for name, entry in complete.items() if entry.source == "constant"),
    )


def _statistics_of(
    task: str, metric: str, backbones: list[str], results: Results, condition: str
) -> _TaskStatistics:
    rows = results.measurements.filter(task=task, split="test", condition=condition, metric=metric).unique(
        ["backbone", "seed"], maintain_order=True
    )
    stored = stored_statistics(rows, backbones, results.storages) if condition == CLEAN else None
    if stored is not None:
        return _TaskStatistics(task=task, metric=METRICS[metric], source="examples", statistics=stored)
    by_seed = [rows.filter(backbone=name).sort("seed")["value"].to_numpy()[:, None] for name in backbones]
    return _TaskStatistics(
        task=task,
        metric=METRICS[metric],
        source="seeds" if any(np.ptp(seeds, axis=0).any() for seeds in by_seed) else "constant",
        statistics=example_means(by_seed),
    )


def _why_no_replicates(complete: Sequence[_TaskStatistics], backbones: Sequence[str]) -> str:
    """Reason in a sentence; empty if there can be replicates."""
    if not complete:
        return "No task has a score of every backbone, so no interval can be given."
    if len(backbones) < 2:
        return "There is only one backbone, so there is no order to be uncertain about."
    if all(entry.source == "constant" for entry in complete):
        return "No test examples are stored, and no seeds that differ, so no interval can be given."
    return ""


def _weights(scores: pl.DataFrame, tasks: list[str]) -> Array:
    """Weight of each task that makes all categories weigh the same, shape [tasks]."""
    category = dict(scores.select("task", "category").unique().iter_rows())
    sizes = [sum(category[other] == category[task] for other in tasks) for task in tasks]
    return 1.0 / np.array(sizes)


def _note(tasks: Sequence[_TaskStatistics], num_replicates: int) -> str:
    """State what was resampled on which tasks."""
    by_source = {
        source: [entry for entry in tasks if entry.source == source]
        for source in ("examples", "seeds", "constant", "incomplete")
    }
    resampled = by_source["examples"] + by_source["seeds"]
    one_seed = [entry for entry in resampled if not entry.has_several_seeds]
    steps = ["resample test examples (the same draw for all backbones)"] if by_source["examples"] else []
    steps += ["add noise as large as the variance between seeds"] if len(one_seed) < len(resampled) else []
    sentences = [
        f"Intervals hold 95 % of {num_replicates:,} bootstrap replicates that {' and '.join(steps)}; "
        "tasks and backbones are not resampled."
    ]
    if one_seed:
        where = "" if len(one_seed) == len(resampled) else f" on {_names(one_seed)}"
        sentences.append(
            f"There is one seed only{where}: the variance between seeds is unknown, and the intervals are "
            "too narrow."
        )
    for reason, entry in _by_reason(by_source["seeds"]).items():
        sentences.append(f"Seeds only, because {reason}: {_names(entry)}.")
    for reason, entry in _by_reason(by_source["constant"]).items():
        sentences.append(
            f"Counted as exact, because all seeds agree and {reason}: {_names(entry)}; the ranking's "
            "intervals are too narrow for that."
        )
    if by_source["incomplete"]:
        sentences.append(f"Without the tasks that not every backbone has: {_names(by_source['incomplete'])}.")
    return " ".join(sentences)


def _by_reason(tasks: Sequence[_TaskStatistics]) -> dict[str, list[_TaskStatistics]]:
    """Why test examples were not resampled → tasks."""
    reasons: dict[str, list[_TaskStatistics]] = {}
    for entry in tasks:
        resampling = entry.metric.resampling
        reason = "values per example are not stored"
        if isinstance(resampling, NotResampled):
            reason = f"{entry.metric.name} is not resampled ({resampling.reason})"
        reasons.setdefault(reason, []).append(entry)
    return reasons


def _names(tasks: Sequence[_TaskStatistics]) -> str:
    return ", ".join(sorted(entry.task for entry in tasks))
