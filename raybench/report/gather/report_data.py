"""What a report is made of: frames gathered from results, before any page."""

import json
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.analysis.bootstrap import Replicates
from raybench.catalog.published import PublishedResults, published
from raybench.catalog.tasks import PROTOCOLS, protocol_of
from raybench.core.errors import EmptyInputError
from raybench.core.records import Pair, TrialRecord
from raybench.metrics import METRICS
from raybench.report.gather.backbone_facts import FACTS, facts_of
from raybench.report.gather.commands import report_command
from raybench.report.gather.computed_metrics import compute_missing
from raybench.report.gather.criteria import CLEAN, Criterion
from raybench.report.gather.inference_cost import inference_costs, seconds_spent
from raybench.report.gather.published_tables import PublishedComparison, compare_with_published
from raybench.report.gather.ranking import Ranking, rank_results
from raybench.report.gather.search_data import SearchEvidence, search_evidence
from raybench.report.gather.shifts import shifted_accuracies
from raybench.report.gather.sources import Results
from raybench.report.gather.uncertainty import Uncertainty, estimate_uncertainty
from raybench.store import layout, ledger
from raybench.store.artifacts import read_curves
from raybench.store.files import StoragePath, map_concurrently

REFERENCE = "bob"
"""The published table that every report looks at."""
TRIALS = pl.Schema(
    {
        "backbone": pl.String,
        "task": pl.String,
        "direction": pl.String,
        "value": pl.Float64,
        "index": pl.Int64,
    }
)


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that the sections read. Frames may be empty; a section then says why it shows nothing."""

    title: str
    sources: list[str]
    """Storages, or the published table."""
    scores: pl.DataFrame
    """Per backbone and task: metric, direction, value, num_seeds, category."""
    ranked: pl.DataFrame
    """`scores` with zscore and rank."""
    aggregate_ranking: pl.DataFrame
    """Per backbone, best first, as `raybench rank` gives it."""
    missing: list[Pair]
    facts: pl.DataFrame
    """Per backbone, columns as FACTS and one per measured cost."""
    random_init: tuple[str, ...]
    """Backbones without pretraining."""
    trials: pl.DataFrame
    """Search trials that ended with an objective on val, columns as TRIALS."""
    uncertainty: Uncertainty
    """How sure the ranking is."""
    curves: pl.DataFrame
    """Rows of evaluators' figures: figure, backbone, task and the figure's own columns."""
    provenance: list[dict[str, Any]]
    """One row per measured pair and seed."""
    specs: list[dict[str, Any]]
    inference: pl.DataFrame = field(default_factory=pl.DataFrame)
    """What inference costs, as `expenses.inference_costs` gives it."""
    search: SearchEvidence = field(default_factory=SearchEvidence)
    """How the searches went."""
    effort: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Seconds spent per pair, as `expenses.seconds_spent` gives it."""
    reference: PublishedResults | None = None
    """The published table itself, or the paper to compare with."""
    warnings: list[str] = field(default_factory=list)
    """What evaluators warned of."""
    comparisons: list[PublishedComparison] = field(default_factory=list)
    """Comparisons with published tables."""
    conflicts: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Identities of which sources found different values, as `Results.conflicts`."""
    shifted: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Accuracies under shifts and corruptions, as `shifts.shifted_accuracies` gives them."""
    condition: str = CLEAN
    """What was done to the images of `scores`."""
    rule: RankingRule = field(default_factory=RankingRule)
    notes: list[str] = field(default_factory=list)
    """What the rule leaves out."""
    commands: list[str] = field(default_factory=list)
    """What makes the same again."""

    @property
    def complete(self) -> pl.DataFrame:
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
    def replicates(self) -> Replicates | None:
        return self.uncertainty.replicates

    @property
    def uncertainty_note(self) -> str:
        """What was resampled for the intervals, or why there are none."""
        return self.uncertainty.note

    @property
    def costs(self) -> list[str]:
        """Columns of `facts` that are measured costs."""
        return [name for name in self.facts.columns if name not in FACTS]


def gather(
    results: Results, criterion: Criterion | None = None, rule: RankingRule | None = None
) -> ReportData:
    """All that a report of `results` shows.

    Args:
        results: of one place or several.
        criterion: what to rank by; None takes every task's objective.
        rule: the open choices of the paper's rule; None takes the defaults.

    Raises:
        RaybenchError: as `ranking.rank_results`.
    """
    criterion = criterion or Criterion()
    results = compute_missing(results, criterion)
    ranking = rank_results(results, criterion, rule)
    paper = results.published
    places = [(s, n) for s in results.storages for n in results.experiments]
    places = [place for place in places if layout.experiment_dir(*place).is_dir()]
    records = [
        (storage, record)
        for storage, name in places
        for record in ledger.read_records(storage, name)
        if not criterion.tasks or str(record.pair.task) in ranking.tasks
    ]
    curves, warnings = _curves(results.measurements, records)
    return ReportData(
        title=", ".join(results.experiments),
        sources=results.names,
        scores=ranking.ranked.drop("zscore", "rank"),
        ranked=ranking.ranked,
        aggregate_ranking=ranking.aggregate_ranking,
        missing=ranking.missing,
        facts=facts_of(results),
        inference=inference_costs(results.measurements, results.storages),
        search=search_evidence(places, [record for _, record in records], results.specs),
        effort=seconds_spent([record for _, record in records]),
        random_init=results.random_init,
        trials=_trials([record for _, record in records]),
        uncertainty=estimate_uncertainty(
            ranking.ranked, results, condition=ranking.condition, rule=ranking.rule
        ),
        curves=curves,
        provenance=_provenance(results.measurements),
        specs=[dict(spec) for spec in results.specs if results.storages],
        reference=paper or published(REFERENCE),
        comparisons=ranking.comparisons or _compare_with_reference(ranking, results),
        conflicts=results.conflicts,
        shifted=shifted_accuracies(results.measurements, sorted(ranking.tasks)),
        warnings=warnings,
        condition=ranking.condition,
        rule=ranking.rule,
        notes=ranking.notes,
        commands=[
            *(f"raybench run SPEC.yaml --storage {s}    # the spec is below" for s in results.storages[:1]),
            report_command(results, criterion, ranking.rule),
        ],
    )


def _compare_with_reference(ranking: Ranking, results: Results) -> list[PublishedComparison]:
    """A report always looks at the paper; other published tables are asked for by name."""
    if results.published is not None:
        return []
    return [
        compare_with_published(
            ranking.aggregate_ranking, results.measurements, published(REFERENCE), ranking.rule
        )
    ]


def _trials(records: list[TrialRecord]) -> pl.DataFrame:
    rows = []
    for record in records:
        if record.pair.task.protocol not in PROTOCOLS:
            continue
        metric = protocol_of(record.pair.task).objective
        value = record.value_of("val", metric)
        if record.stage == "search" and record.status != "failed" and value is not None:
            rows.append(
                (record.pair.backbone, str(record.pair.task), METRICS[metric].direction, value, record.index)
            )
    return pl.DataFrame(rows, schema=TRIALS, orient="row").unique(maintain_order=True)


def _curves(
    measurements: pl.DataFrame, records: list[tuple[StoragePath, TrialRecord]]
) -> tuple[pl.DataFrame, list[str]]:
    """Of each pair's first seed; a trial whose measurements were withdrawn is not shown."""
    current = set(measurements["trial_id"])
    finals = [(s, r) for s, r in records if r.stage == "final" and r.trial_id in current]
    first: dict[tuple[str, str], tuple[StoragePath, TrialRecord]] = {}
    for storage, record in finals:
        first.setdefault((record.pair.backbone, str(record.pair.task)), (storage, record))
    wanted = [(s, r, evaluator) for s, r in first.values() for evaluator in r.evaluations]

    def read(what: tuple[StoragePath, TrialRecord, str]) -> dict[str, Any]:
        storage, record, evaluator = what
        return read_curves(storage, record.experiment, record.trial_id, evaluator)

    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    for (_, record, evaluator), kept in zip(
        wanted, map_concurrently(read, wanted, *(storage for storage, _, _ in wanted)), strict=True
    ):
        warnings += [
            f"{record.pair.backbone} on {record.pair.task}, {evaluator}: {w}" for w in kept["warnings"]
        ]
        for figure, points in kept["curves"].items():
            head = {"figure": figure, "backbone": record.pair.backbone, "task": str(record.pair.task)}
            rows += [head | point for point in points]
    return pl.DataFrame(rows, infer_schema_length=None), warnings


def _provenance(measurements: pl.DataFrame) -> list[dict[str, Any]]:
    main = measurements.filter(split="test", condition="clean").unique(
        ["experiment", "backbone", "task", "seed"], maintain_order=True
    )
    return [
        {
            **{key: row[key] for key in ("experiment", "backbone", "task", "seed")},
            **json.loads(row["provenance"]),
        }
        for row in main.iter_rows(named=True)
    ]
