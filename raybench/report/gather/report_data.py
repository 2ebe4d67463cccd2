"""Everything that a report shows, gathered from results as frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.catalog.published import PublishedResults, published
from raybench.core.errors import EmptyInputError
from raybench.report.gather.backbone_table import BACKBONE_INFO, backbone_table
from raybench.report.gather.commands import report_command
from raybench.report.gather.criteria import CLEAN, Criterion
from raybench.report.gather.evaluator_results import EvaluatorResults, evaluator_results
from raybench.report.gather.inference_cost import inference_costs
from raybench.report.gather.published_tables import PublishedComparison, compare_with_published
from raybench.report.gather.ranking import Ranking, rank_results
from raybench.report.gather.search_data import SearchData, search_data
from raybench.report.gather.seed_means import protocol_metrics
from raybench.report.gather.shifted_accuracy import shifted_accuracies
from raybench.report.gather.sources import Results
from raybench.report.gather.trial_seconds import trial_seconds
from raybench.report.gather.uncertainty import Uncertainty
from raybench.store import layout, ledger
from raybench.store.measurements import parse_provenance

REFERENCE = "bob"
"""The published table that every report compares with."""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that the sections read. A frame may be empty; its section then says why it shows nothing."""

    ranking: Ranking
    uncertainty: Uncertainty
    """Uncertainty of the ranking."""
    backbone_info: pl.DataFrame
    """As `backbone_table` gives it."""
    protocol_metrics: pl.DataFrame
    """All metrics of the tasks' protocols on clean images, as `seed_means.protocol_metrics` gives them."""
    evaluators: Mapping[str, EvaluatorResults]
    """Evaluator → what it measured."""
    shifted: pl.DataFrame
    """Accuracies under shifts and corruptions, as `shifted_accuracies` gives them."""
    search: SearchData
    inference_cost: pl.DataFrame
    """As `inference_costs` gives it."""
    trial_seconds: pl.DataFrame
    """As `trial_seconds.trial_seconds` gives it."""
    provenance: Sequence[Mapping[str, Any]]
    """One row per measured pair and seed."""
    reference: PublishedResults
    """The published table itself, or the paper to compare with."""
    comparisons: Sequence[PublishedComparison]
    """Comparisons with published tables."""
    commands: Sequence[str]
    """Commands to reproduce the results and this report."""

    @property
    def results(self) -> Results:
        return self.ranking.results

    @property
    def overall(self) -> pl.DataFrame:
        """The aggregate ranking, best first."""
        return self.ranking.aggregate_ranking

    @property
    def scores(self) -> pl.DataFrame:
        """Per backbone and task: metric, direction, value, num_seeds, category."""
        return self.ranking.ranked.drop("zscore", "rank")

    @property
    def complete_scores(self) -> pl.DataFrame:
        """`scores` on the tasks that every backbone has; all of them unless pairs are missing.

        Raises:
            EmptyInputError: if there is no such task.
        """
        num_backbones = self.scores["backbone"].n_unique()
        shared = self.scores.filter(pl.col("backbone").n_unique().over("task") == num_backbones)
        if shared.is_empty():
            raise EmptyInputError("no task has a score of every backbone, so nothing can be compared.")
        return shared

    @property
    def cost_columns(self) -> list[str]:
        """Columns of `backbone_info` that are inference costs."""
        return [name for name in self.backbone_info.columns if name not in BACKBONE_INFO]

    @property
    def specs(self) -> Sequence[Mapping[str, Any]]:
        """Stored specs of the experiments; empty for sources without a storage."""
        return self.results.specs if self.results.storages else ()


def gather(
    results: Results, criterion: Criterion | None = None, rule: RankingRule | None = None
) -> ReportData:
    """Gather all that a report of `results` shows.

    Arguments and errors are those of `ranking.rank_results`.
    """
    criterion = criterion or Criterion()
    ranking = rank_results(results, criterion, rule)
    results = ranking.results
    measurements, tasks = results.measurements, list(ranking.tasks)
    experiments = [
        (storage, name)
        for storage in results.storages
        for name in results.experiments
        if layout.experiment_dir(storage, name).is_dir()
    ]
    trials = [
        (storage, record)
        for storage, name in experiments
        for record in ledger.read_records(storage, name)
        if not criterion.tasks or str(record.pair.task) in ranking.tasks
    ]
    records = [record for _, record in trials]
    return ReportData(
        ranking=ranking,
        uncertainty=ranking.uncertainty(),
        backbone_info=backbone_table(results),
        protocol_metrics=protocol_metrics(measurements, tasks),
        evaluators=evaluator_results(results, tasks, trials),
        shifted=shifted_accuracies(measurements, tasks),
        search=search_data(experiments, records, results.specs),
        inference_cost=inference_costs(measurements, results.storages),
        trial_seconds=trial_seconds(records),
        provenance=_provenance(measurements),
        reference=results.published or published(REFERENCE),
        comparisons=ranking.comparisons or _compare_with_reference(ranking),
        commands=[
            *(f"raybench run SPEC.yaml --storage {s}    # the spec is below" for s in results.storages[:1]),
            report_command(results, criterion, ranking.rule),
        ],
    )


def _compare_with_reference(ranking: Ranking) -> list[PublishedComparison]:
    """The comparison that every report makes; other published tables are compared with on request."""
    if ranking.results.published is not None:
        return []
    overall, measurements = ranking.aggregate_ranking, ranking.results.measurements
    return [compare_with_published(overall, measurements, published(REFERENCE), ranking.rule)]


def _provenance(measurements: pl.DataFrame) -> list[dict[str, Any]]:
    keys = ["experiment", "backbone", "task", "seed"]
    clean = measurements.filter(split="test", condition=CLEAN).unique(keys, maintain_order=True)
    rows = clean.select(*keys, "provenance").iter_rows(named=True)
    return [{key: row[key] for key in keys} | parse_provenance(row["provenance"]) for row in rows]
