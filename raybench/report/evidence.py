"""What a report is made of: frames gathered from storages, or from a published table, before any page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from raybench import ledger
from raybench.analysis.bootstrap import Replicates
from raybench.analysis.merge import merge, require_no_conflict
from raybench.analysis.ranking import overall, rank_within_task, zscore_within_task
from raybench.analysis.scores import missing_pairs, objective_of, require_complete, select_scores
from raybench.artifacts import read_curves
from raybench.catalog.published import PublishedResults, published
from raybench.catalog.tasks import PROTOCOLS
from raybench.errors import EmptyInputError
from raybench.metrics import METRICS
from raybench.records import Pair, TrialRecord
from raybench.report.doubt import redrawn
from raybench.report.expenses import inference_costs, seconds_spent, with_costs
from raybench.results import read_measurements

COST_WORDS = ("throughput", "images_per_second", "latency", "memory", "flops")
"""A metric whose name holds one of these is a cost, and enters the Pareto section when it was measured."""
FACTS = pl.Schema(
    {
        "backbone": pl.String,
        "family": pl.String,
        "method": pl.String,
        "params_m": pl.Float64,
        "pretrain_images": pl.Int64,
    }
)
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
class Evidence:
    """All that the sections read. Frames may be empty; a section then says why it shows nothing."""

    title: str
    sources: list[str]
    """Storages, or the published table."""
    scores: pl.DataFrame
    """Per backbone and task: metric, direction, value, num_seeds, category."""
    ranked: pl.DataFrame
    """`scores` with zscore and rank."""
    standing: pl.DataFrame
    """Per backbone, best first, as `raybench rank` gives it."""
    missing: list[Pair]
    facts: pl.DataFrame
    """Per backbone, columns as FACTS and one per measured cost."""
    trials: pl.DataFrame
    """Search trials that ended with an objective on val, columns as TRIALS."""
    replicates: Replicates | None
    doubt: str
    """What was redrawn for the intervals, or why there are none."""
    curves: pl.DataFrame
    """Rows of evaluators' figures: figure, backbone, task and the figure's own columns."""
    provenance: list[dict[str, Any]]
    """One row per measured pair and seed."""
    specs: list[dict[str, Any]]
    inference: pl.DataFrame = field(default_factory=pl.DataFrame)
    """What inference costs, as `expenses.inference_costs` gives it."""
    effort: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Seconds spent per pair, as `expenses.seconds_spent` gives it."""
    reference: PublishedResults | None = None
    """The published table itself, or the paper to compare with."""
    warnings: list[str] = field(default_factory=list)
    """What evaluators warned of."""

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
    def random_init(self) -> tuple[str, ...]:
        """Backbones without pretraining."""
        return tuple(self.facts.filter(method="none")["backbone"])

    @property
    def costs(self) -> list[str]:
        """Columns of `facts` that are measured costs."""
        return [name for name in self.facts.columns if name not in FACTS]


def gather(storages: Sequence[Path], *, experiment: str | None, allow_missing: bool) -> Evidence:
    """Read one storage or unite several.

    Raises:
        StorageError: if one cannot be read.
        EmptyInputError: if nothing was measured.
        MissingMeasurementError: if a pair has no score, unless `allow_missing`.
        DuplicateMeasurementError: if two measurements of one thing differ.
    """
    tables = {str(storage): read_measurements(storage, experiment) for storage in storages}
    measurements = next(iter(tables.values()))
    if len(tables) > 1:
        measurements, conflicts = merge(tables)
        require_no_conflict(conflicts)
    if measurements.is_empty():
        asked = f" of experiment {experiment!r}" if experiment else ""
        raise EmptyInputError(
            f"nothing{asked} is measured in {', '.join(tables)}; `raybench run` an experiment with it first."
        )
    names = measurements["experiment"].unique().sort().to_list()
    places = [(s, n) for s in storages for n in names if ledger.experiment_dir(s, n).is_dir()]
    specs = [spec for place in places if (spec := ledger.load_spec(*place))]
    records = [(s, r) for s, n in places for r in ledger.read_records(s, n)]
    expected = _expected(specs)
    scores = _with_category(select_scores(measurements))
    if not allow_missing:
        require_complete(scores, expected)
    ranked = scores.pipe(zscore_within_task).pipe(rank_within_task)
    replicates, doubt = redrawn(scores, measurements, storages)
    curves, warnings = _curves(measurements, records)
    inference = inference_costs(measurements, storages)
    return Evidence(
        title=", ".join(names),
        sources=list(tables),
        scores=scores,
        ranked=ranked,
        standing=overall(ranked, expected),
        missing=[Pair(backbone=b, task=t) for b, t in missing_pairs(scores, expected).iter_rows()],
        facts=with_costs(_facts(measurements, specs), inference),
        inference=inference,
        effort=seconds_spent([record for _, record in records]),
        trials=_trials([record for _, record in records]),
        replicates=replicates,
        doubt=doubt,
        curves=curves,
        provenance=_provenance(measurements),
        specs=specs,
        reference=published("bob"),
        warnings=warnings,
    )


def gather_published(name: str) -> Evidence:
    """The evidence of a published table, which has neither examples nor trials."""
    results = published(name)
    scores = pl.DataFrame(results.scores).with_columns(num_seeds=pl.lit(1))
    ranked = scores.pipe(zscore_within_task).pipe(rank_within_task)
    facts = [
        (b.backbone, b.family, b.pretrain_style, b.params_m, b.pretrain_images) for b in results.backbones
    ]
    return Evidence(
        title=f"published:{name}",
        sources=[results.citation],
        scores=scores,
        ranked=ranked,
        standing=overall(ranked),
        missing=[],
        facts=pl.DataFrame(facts, schema=FACTS, orient="row"),
        trials=pl.DataFrame(schema=TRIALS),
        replicates=None,
        doubt="The published table holds one number per cell and no test examples, so there is no interval.",
        curves=pl.DataFrame(),
        provenance=[],
        specs=[],
        reference=results,
    )


def _expected(specs: list[dict[str, Any]]) -> pl.DataFrame:
    pairs = [(b["name"], t) for s in specs for b in s.get("backbones", ()) for t in s.get("tasks", ())]
    return pl.DataFrame(pairs, schema={"backbone": pl.String, "task": pl.String}, orient="row").unique()


def _with_category(scores: pl.DataFrame) -> pl.DataFrame:
    is_retrieval = pl.col("task").str.starts_with("retrieval@")
    return scores.with_columns(
        category=pl.when(is_retrieval).then(pl.lit("retrieval")).otherwise(pl.lit("classification"))
    )


def _facts(measurements: pl.DataFrame, specs: list[dict[str, Any]]) -> pl.DataFrame:
    """Parameters as counted when measuring; the rest as the specs' catalogue rows say."""
    rows = {row["name"]: row for spec in specs for row in spec.get("backbones", ())}
    counted = {b: json.loads(p) for b, p in measurements.select("backbone", "provenance").iter_rows()}
    found = []
    for backbone in measurements["backbone"].unique().sort():
        row, num_params = rows.get(backbone, {}), counted[backbone].get("num_params")
        params = num_params / 1e6 if num_params else row.get("params_m")
        found.append(
            (
                backbone,
                row.get("family", "unknown"),
                row.get("method", "unknown"),
                params,
                row.get("pretrain_images"),
            )
        )
    facts = pl.DataFrame(found, schema=FACTS, orient="row")
    is_cost = pl.col("metric").str.contains_any(list(COST_WORDS))
    costs = measurements.filter(is_cost).group_by("backbone", "metric").agg(pl.col("value").sort().mean())
    if costs.is_empty():
        return facts
    wide = costs.sort("metric").pivot("metric", index="backbone", values="value")
    return facts.join(wide, on="backbone", how="left")


def _trials(records: list[TrialRecord]) -> pl.DataFrame:
    rows = []
    for record in records:
        if record.task.partition("@")[0] not in PROTOCOLS:
            continue
        metric = objective_of(record.task)
        if record.stage == "search" and record.status != "failed" and f"val/{metric}" in record.metrics:
            value = record.metrics[f"val/{metric}"]
            rows.append((record.backbone, record.task, METRICS[metric].direction, value, record.index))
    return pl.DataFrame(rows, schema=TRIALS, orient="row").unique(maintain_order=True)


def _curves(
    measurements: pl.DataFrame, records: list[tuple[Path, TrialRecord]]
) -> tuple[pl.DataFrame, list[str]]:
    """Of each pair's first seed; a trial whose measurements were withdrawn is not shown."""
    current = set(measurements["trial_id"])
    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    seen: set[tuple[str, str]] = set()
    for storage, record in records:
        pair = (record.backbone, record.task)
        if record.stage != "final" or record.trial_id not in current or pair in seen:
            continue
        seen.add(pair)
        for evaluator in record.evaluations:
            kept = read_curves(storage, record.experiment, record.trial_id, evaluator)
            warnings += [f"{record.backbone} on {record.task}, {evaluator}: {w}" for w in kept["warnings"]]
            for figure, points in kept["curves"].items():
                head = {"figure": figure, "backbone": record.backbone, "task": record.task}
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
