"""Results → a ranking by one criterion and one rule, with intervals on request. No text."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from raybench.analysis.aggregate_ranking import RankingRule, aggregate_tasks, eligible_scores, rank_by_rule
from raybench.analysis.scores import how_to_measure, missing_pairs, require_complete
from raybench.core.errors import MissingMeasurementError
from raybench.core.records import Pair, Task
from raybench.report.gather.computed_metrics import compute_missing
from raybench.report.gather.criteria import CLEAN, Criterion, SelectedScores, select_by_criterion
from raybench.report.gather.published_tables import PublishedComparison, compare_with_published
from raybench.report.gather.search_fairness import unequal_searches
from raybench.report.gather.sources import Results
from raybench.store import ledger

if TYPE_CHECKING:
    from raybench.report.gather.uncertainty import Uncertainty

INTERVALS = ("zscore_low", "zscore_high", "rank_low", "rank_high", "p_first")
"""Columns that `with_intervals` adds to `aggregate_ranking`: 95 % intervals and P(first)."""
SCORE_INTERVALS = ("low", "high")
"""Columns that it adds to `ranked`: the 95 % interval of each score."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """A ranking and what a reader needs to judge it."""

    results: Results
    """What was ranked, with computed values of a metric that finished trials lack."""
    ranked: pl.DataFrame
    """Per backbone and task: metric, direction, value, num_seeds, category, zscore, rank."""
    aggregate_ranking: pl.DataFrame
    """Per backbone, best first."""
    missing: list[Pair]
    """Pairs without a score; empty unless the rule allows them."""
    condition: str
    """Condition of the images, e.g. `clean`."""
    rule: RankingRule
    notes: list[str]
    """Further notes for the reader."""
    comparisons: list[PublishedComparison]
    """Comparisons with the published tables that were named."""
    uncertainty_note: str = ""
    """What was resampled for the intervals, or why there are none; empty if not requested."""

    @property
    def tasks(self) -> Mapping[str, str]:
        """Task → the metric it is judged by, sorted by task."""
        return dict(self.ranked.select("task", "metric").unique().sort("task").iter_rows())

    @property
    def under_condition(self) -> str:
        """` under CONDITION` for sentences; empty for clean images."""
        return "" if self.condition == CLEAN else f" under {self.condition}"

    def uncertainty(self) -> "Uncertainty":
        """Resample test examples and seeds.

        Raises:
            StorageError: if predictions are there but cannot be read.
        """
        from raybench.report.gather.uncertainty import estimate_uncertainty  # Deferred: loads numpy, scipy.

        return estimate_uncertainty(self.ranked, self.results, condition=self.condition, rule=self.rule)


def rank_results(
    results: Results,
    criterion: Criterion | None = None,
    rule: RankingRule | None = None,
    *,
    with_intervals: bool = False,
) -> Ranking:
    """Rank the backbones of `results`.

    Args:
        results: of one source or several.
        criterion: what to rank by; None takes every task's objective.
        rule: the open choices of the paper's rule; None takes the defaults.
        with_intervals: resample, and add INTERVALS and SCORE_INTERVALS.

    Raises:
        UnknownNameError: if there is no such metric, category, condition or task.
        EmptyInputError: if there is no such measurement.
        MissingMeasurementError: if a pair has no score, with the reason, unless the rule allows it.
        DuplicateMeasurementError: if two experiments contradict each other.
        StorageError: if predictions are there but cannot be read.
    """
    rule, criterion = rule or RankingRule(), criterion or Criterion()
    results = compute_missing(results, criterion)
    selected = select_by_criterion(results, criterion)
    scores, expected = _eligible(selected, results, rule)
    missing = [Pair(backbone=b, task=Task.parse(t)) for b, t in missing_pairs(scores, expected).iter_rows()]
    if missing and rule.missing == "refuse":
        try:
            require_complete(scores, expected, remedy=_remedy(results, missing[0], criterion))
        except MissingMeasurementError as error:
            raise MissingMeasurementError(f"{error}{_why(results, missing)}") from None
    ranked = rank_by_rule(scores, rule)
    overall = aggregate_tasks(ranked, rule, expected)
    ranking = Ranking(
        results=results,
        ranked=ranked,
        aggregate_ranking=overall,
        missing=missing,
        condition=selected.condition,
        rule=rule,
        notes=[
            *results.notes,
            *_left_out(selected, scores, results, rule),
            *unequal_searches(results.specs),
        ],
        comparisons=[
            compare_with_published(overall, results.measurements, paper, rule)
            for paper in results.reference_tables
        ],
    )
    return _with_intervals(ranking) if with_intervals else ranking


def _eligible(
    selected: SelectedScores, results: Results, rule: RankingRule
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The scores that the rule counts, and the pairs that should have one."""
    random_init = () if rule.with_random_init else results.random_init
    scores = eligible_scores(selected.scores, rule, random_init=random_init)
    expected = selected.expected.filter(~pl.col("backbone").is_in(list(random_init)))
    if rule.missing == "common_tasks":
        expected = expected.filter(pl.col("task").is_in(scores["task"].unique().implode()))
    return scores, expected


def _left_out(
    selected: SelectedScores, scores: pl.DataFrame, results: Results, rule: RankingRule
) -> list[str]:
    """Notes on tasks and backbones that the rule leaves out."""
    notes = []
    if rule.missing == "common_tasks":
        tasks = sorted({*selected.scores["task"].unique()} - {*scores["task"].unique()})
        notes += [f"Left out, as not every backbone has a score there: {', '.join(tasks)}."] if tasks else []
    if not rule.with_random_init:
        names = [name for name in results.random_init if name in selected.scores["backbone"]]
        notes += [f"Left out, as not pretrained: {', '.join(names)}."] if names else []
    return notes


def _with_intervals(ranking: Ranking) -> Ranking:
    uncertainty = ranking.uncertainty()
    if uncertainty.replicates is None:
        return replace(ranking, uncertainty_note=uncertainty.note)
    of_ranks = uncertainty.ranking_intervals().select("backbone", *INTERVALS)
    of_scores = uncertainty.score_intervals().select("backbone", "task", *SCORE_INTERVALS)
    overall, ranked = ranking.aggregate_ranking, ranking.ranked
    return replace(
        ranking,
        aggregate_ranking=overall.join(of_ranks, on="backbone", how="left", maintain_order="left"),
        ranked=ranked.join(of_scores, on=["backbone", "task"], how="left", maintain_order="left"),
        uncertainty_note=uncertainty.note,
    )


def _remedy(results: Results, missing: Pair, criterion: Criterion) -> str:
    """What to do about a missing pair, which may have run and lack only the metric."""
    of_pair = results.measurements.filter(backbone=missing.backbone, task=str(missing.task), split="test")
    if criterion.metric is None or of_pair.is_empty():
        return "run them again"
    return how_to_measure(criterion.metric)


def _why(results: Results, missing: list[Pair]) -> str:
    """Why the first missing pair failed, from the ledgers, and a hint where several experiments are read."""
    reasons = [
        record.reason
        for storage in results.storages
        for experiment in results.experiments
        for record in ledger.read_records(storage, experiment, pair=missing[0])
        if record.status == "failed"
    ]
    why = f" {missing[0].backbone!r} on {str(missing[0].task)!r} failed: {reasons[-1]}" if reasons else ""
    num_experiments = len(results.experiments)
    if num_experiments > 1:
        where = "This storage holds" if len(results.names) == 1 else "These sources hold"
        why += f" {where} {num_experiments} experiments; choose one with `--experiment`."
    return why
