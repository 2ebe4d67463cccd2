"""The sections on the search, references and provenance: `ReportData` → parts of a page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from raybench.analysis.aggregate_ranking import aggregate_ranking
from raybench.analysis.correlation import score_correlations, task_correlations
from raybench.analysis.tuning_curves import (
    best_of_k,
    budget_sufficiency,
    gain_over_defaults,
    scores_at_budget,
)
from raybench.report.gather.published_tables import PublishedComparison
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Code, Figure, Part, Table, Text
from raybench.report.sections.top_backbones import these, top_backbones


def search_budget(evidence: ReportData) -> Sequence[Part]:
    """Was the search long enough?"""
    if evidence.trials.is_empty():
        return [Absent("no search trial with an objective on val is in the ledger.")]
    curves = best_of_k(evidence.trials)
    most = max(curves["k"].to_list())
    sufficiency = budget_sufficiency(evidence.trials)
    parts: list[Part] = []
    if most < 2:
        parts.append(Absent("every pair had one search trial only; a best-of-k curve needs 2."))
    else:
        shown = top_backbones(evidence, curves)
        drawing = charts.lines(
            shown, x="k", y="expected", titles=("trials k", "expected best on val"), facet="task"
        )
        caption = these(shown["backbone"].n_unique(), curves["backbone"].n_unique())
        parts.append(
            Figure(
                drawing,
                "Expected best objective on val over the number of trials, one panel per task.",
                f"Expected best of k trials: still rising asks for a longer search; {caption}",
            )
        )
    return [
        *parts,
        *_on_half(evidence.trials),
        Text(f"The second half of the trials was worth {_most(sufficiency)} on val."),
        Table(
            sufficiency, "What the second half of the trials was worth", "budget_sufficiency", is_folded=True
        ),
        Table(curves, "Expected best of k trials", "best_of_k", is_folded=True),
    ]


def _on_half(trials: pl.DataFrame) -> list[Part]:
    """Would half the budget have given another order on val?"""
    whole, half = (scores_at_budget(trials, share=share) for share in (1.0, 0.5))
    complete = whole.filter(pl.col("backbone").n_unique().over("task") == whole["backbone"].n_unique())
    if complete.is_empty() or complete["backbone"].n_unique() < 2:
        return []
    tasks = complete["task"].unique().implode()
    joined = aggregate_ranking(complete).join(
        aggregate_ranking(half.filter(pl.col("task").is_in(tasks))), on="backbone", suffix="_half"
    )
    moved = joined.filter(pl.col("overall_rank") != pl.col("overall_rank_half")).height
    lead = joined.filter(pl.col("overall_rank_half") == 1)["backbone"].sort().to_list()
    same = "the same best" if joined["backbone"][0] in lead else f"{' and '.join(lead)} as the best"
    return [
        Text(
            f"With half the trials the expected order on val would have {same}, and {moved} of "
            f"{joined.height} backbones another rank."
        ),
        Table(
            joined.select(
                "backbone", rank_with_all="overall_rank", rank_with_half="overall_rank_half",
                zscore_with_all="mean_zscore", zscore_with_half="mean_zscore_half",
            ),
            "Expected ranking on val with all trials and with half of them",
            "half_the_budget",
            is_folded=True,
        ),
    ]  # fmt: skip


def tuning_gain(evidence: ReportData) -> Sequence[Part]:
    """Tuned against default hyperparameters."""
    if evidence.trials.is_empty():
        return [Absent("no search trial with an objective on val is in the ledger.")]
    gains = gain_over_defaults(evidence.trials)
    return [
        Text(
            f"Tuning gained {_most(gains)} on val, where the best is chosen, so that this flatters the "
            "search. Trial 0 has the defaults."
        ),
        Table(gains, "Gain of tuning over defaults", "gain_over_defaults", is_folded=True),
    ]


def _most(gains: pl.DataFrame) -> str:
    """The largest gain with its pair, the median, and how many pairs gained nothing."""
    known = gains.drop_nulls("gain").sort("gain", "backbone", "task", descending=[True, False, False])
    if known.is_empty():
        return "what is not known, as no pair has both numbers,"
    top = known.row(0, named=True)
    num_none = known.filter(pl.col("gain") <= 0).height
    middle = float(known["gain"].median() or 0.0)  # type: ignore[arg-type]
    return (
        f"{top['gain']:.3f} at most ({top['backbone']} on {top['task']}), {middle:.3f} at the median and "
        f"nothing in {num_none} of {known.height} pairs"
    )


def references(evidence: ReportData) -> Sequence[Part]:
    """One's own correlations beside those that the paper reports."""
    paper = evidence.reference
    if paper is None:
        return [Absent("no published result is at hand.")]
    own = _own_scalars(evidence)
    rows = [
        (s.quantity, s.setting, s.value, own.get((s.quantity, s.setting)), s.certainty) for s in paper.scalars
    ]
    names = ["quantity", "of", "paper", "here", "certainty"]
    table = pl.DataFrame(rows, schema=names, orient="row").cast({"paper": pl.Float64, "here": pl.Float64})
    orders = pl.DataFrame(paper.orders)
    return [
        *[part for found in evidence.comparisons for part in _comparison(found)],
        Text(
            f"{paper.citation} reports these numbers over its own backbones and tasks; `certainty` "
            "says how sure it is that a number stands there. A dash under `here`: not defined here."
        ),
        Table(table, "Reported beside measured here", "references"),
        Table(orders, "Orders that the paper reports", "reported_orders", is_folded=True),
    ]


def _comparison(comparison: PublishedComparison) -> list[Part]:
    """The published table and one's own, where they have backbones or tasks in common."""
    parts: list[Part] = [Text(comparison.summary)]
    if comparison.ranking.height:
        name = f"beside_{comparison.paper.name}"
        parts.append(Table(comparison.ranking, "Backbones that both tables rank", name))
    if comparison.values.height:
        name = f"values_beside_{comparison.paper.name}"
        parts.append(Table(comparison.values, "Tasks that both tables have", name))
    return parts


def _own_scalars(evidence: ReportData) -> dict[tuple[str, str], float | None]:
    own: dict[tuple[str, str], float | None] = {}
    for quantity, fact in (("params", "params_m"), ("pretrain_images", "pretrain_images")):
        found = dict(
            score_correlations(evidence.aggregate_ranking, evidence.facts, fact)
            .select("family", "spearman")
            .iter_rows()
        )
        own[f"spearman(zscore, {quantity})", "ViTs"] = found.get("transformer")
        own[f"spearman(zscore, {quantity})", "CNNs"] = found.get("cnn")
    between = task_correlations(evidence.ranked, by="category")
    pair = between.filter(pl.col("one") == "classification", pl.col("other") == "retrieval")["spearman"]
    own["spearman(classification, retrieval)", "all backbones"] = pair[0] if pair.len() else None
    typical = task_correlations(evidence.ranked)["spearman"].median()
    own["spearman(task, task)", "typical task pair, a lower bound"] = typical  # type: ignore[assignment]
    return own


def provenance(evidence: ReportData) -> Sequence[Part]:
    """What was measured with what, and how to repeat it."""
    if not evidence.provenance:
        return [
            Text(f"Source: {'; '.join(evidence.sources)}."),
            Text(f"Repeat: {evidence.commands[-1]}"),
        ]
    rows = [_origin(row) for row in evidence.provenance]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    versions = sorted(
        {f"{n} {v}" for row in evidence.provenance for n, v in (row.get("versions") or {}).items()}
    )
    sources = " ".join(evidence.sources)
    return [
        *_differences(evidence),
        Text(
            f"Sources: {sources}. Devices: {', '.join(frame['device'].unique().sort())}. "
            f"Seeds: {_seeds(frame)}."
        ),
        Text(f"Versions: {', '.join(versions) or 'not kept'}."),
        Code("Commands", "\n".join(evidence.commands)),
        *[
            Code(f"Spec of {spec.get('name', 'experiment')}", json.dumps(spec, indent=1, ensure_ascii=False))
            for spec in evidence.specs
        ],
        Table(frame, "Origin of every measurement", "provenance", is_folded=True),
    ]


def _differences(evidence: ReportData) -> list[Part]:
    """Where several sources found different values of one thing."""
    if evidence.conflicts.is_empty():
        return []
    num_things = evidence.conflicts.filter("is_kept").height
    return [
        Text(
            f"The sources differ in {num_things} measurement{'s' if num_things != 1 else ''}; the preferred "
            "one decided, and none was averaged."
        ),
        Table(evidence.conflicts, "Where sources differ", "conflicts", is_folded=True),
    ]


def _seeds(frame: pl.DataFrame) -> str:
    return ", ".join(str(seed) for seed in frame["seed"].unique().sort())


def _origin(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("experiment", "backbone", "task", "seed", "checkpoint_digest", "dataset_fingerprint", "device")
    return {
        **{name: row.get(name) for name in names[:4]},
        **{name: str(row.get(name) or "not kept") for name in names[4:]},
        "input_size": (row.get("preprocessing") or {}).get("input_size"),
    }
