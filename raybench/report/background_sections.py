"""The sections on robustness, search, references and provenance: `Evidence` → parts of a page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from raybench.analysis.correlation import score_against, task_correlations
from raybench.analysis.tuning_curves import best_of_k, budget_sufficiency, gain_over_defaults
from raybench.report import charts
from raybench.report.evidence import Evidence
from raybench.report.page import Absent, Code, Figure, Listing, Part, Table, Text

CURVES: Mapping[str, tuple[str, str, str, str, str, str | None]] = {
    "reliability": ("calibration", "confidence", "accuracy", "confidence", "accuracy", "condition"),
    "risk_coverage": ("selective", "coverage", "risk", "share of images answered", "error rate", None),
    "robust_accuracy": (
        "adversarial", "epsilon", "robust_accuracy", "radius (pixels in [0, 1])", "robust accuracy", "attack",
    ),
    "corruption_accuracy": ("corruption", "severity", "accuracy", "severity", "accuracy", None),
}  # fmt: skip
"""Figure → evaluator, x, y, their titles, and the column that parts panels."""


def robustness(evidence: Evidence) -> Sequence[Part]:
    """Evaluators' curves, one line per backbone."""
    parts: list[Part] = []
    for figure, (evaluator, x, y, x_title, y_title, facet) in CURVES.items():
        rows = pl.DataFrame() if evidence.curves.is_empty() else evidence.curves.filter(figure=figure)
        name = figure.replace("_", " ")
        if rows.is_empty():
            parts.append(Absent(f"{name}: the evaluator `{evaluator}` has measured nothing here."))
            continue
        rows = rows.select(name for name in rows.columns if rows[name].null_count() < rows.height)
        for (task,), group in sorted(rows.group_by("task")):
            keys = ["backbone", x, *([facet] if facet else [])]
            drawn = group.drop_nulls([x, y]).group_by(keys).agg(pl.col(y).sort().mean()).sort(keys)
            shown = _leaders(evidence, drawn)
            svg = charts.lines(
                shown, x=x, y=y, titles=(x_title, y_title), facet=facet, is_diagonal=figure == "reliability"
            )
            num_shown = shown["backbone"].n_unique()
            caption = f"{name} on {task}, first seed, {_these(num_shown, drawn['backbone'].n_unique())}"
            parts.append(Figure(svg, f"{y_title} over {x_title}, one line per backbone, on {task}.", caption))
        parts.append(Table(rows.drop("figure"), f"Rows of {name}", figure, is_folded=True))
    if evidence.warnings:
        parts += [Text("Evaluators warned:"), Listing(evidence.warnings)]
    return parts


def _leaders(evidence: Evidence, frame: pl.DataFrame) -> pl.DataFrame:
    """At most MAX_LINES backbones, by standing."""
    present = set(frame["backbone"])
    order = [name for name in evidence.standing["backbone"] if name in present][: charts.MAX_LINES]
    return frame.filter(pl.col("backbone").is_in(order))


def _these(num_shown: int, num_all: int) -> str:
    return "all backbones." if num_shown == num_all else f"the best {num_shown} of {num_all} backbones."


def search_budget(evidence: Evidence) -> Sequence[Part]:
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
        shown = _leaders(evidence, curves)
        svg = charts.lines(
            shown, x="k", y="expected", titles=("trials k", "expected best on val"), facet="task"
        )
        caption = _these(shown["backbone"].n_unique(), curves["backbone"].n_unique())
        parts.append(
            Figure(
                svg,
                "Expected best objective on val over the number of trials, one panel per task.",
                f"Expected best of k trials: still rising asks for a longer search; {caption}",
            )
        )
    return [
        *parts,
        Table(sufficiency, "What the second half of the trials was worth", "budget_sufficiency"),
        Table(curves, "Expected best of k trials", "best_of_k", is_folded=True),
    ]


def tuning_gain(evidence: Evidence) -> Sequence[Part]:
    """Tuned against default hyperparameters."""
    if evidence.trials.is_empty():
        return [Absent("no search trial with an objective on val is in the ledger.")]
    gains = gain_over_defaults(evidence.trials)
    return [
        Text("On val, where the best is chosen, so the gain flatters the search. Trial 0 has the defaults."),
        Table(gains, "Gain of tuning over defaults", "gain_over_defaults"),
    ]


def references(evidence: Evidence) -> Sequence[Part]:
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
        Text(
            f"{paper.citation} reports these numbers over its own backbones and tasks; `certainty` "
            "says how sure it is that a number stands there. A dash under `here`: not defined here."
        ),
        Table(table, "Reported beside measured here", "references"),
        Table(orders, "Orders that the paper reports", "reported_orders", is_folded=True),
    ]


def _own_scalars(evidence: Evidence) -> dict[tuple[str, str], float | None]:
    own: dict[tuple[str, str], float | None] = {}
    for quantity, fact in (("params", "params_m"), ("pretrain_images", "pretrain_images")):
        found = dict(
            score_against(evidence.standing, evidence.facts, fact).select("family", "spearman").iter_rows()
        )
        own[f"spearman(zscore, {quantity})", "ViTs"] = found.get("transformer")
        own[f"spearman(zscore, {quantity})", "CNNs"] = found.get("cnn")
    between = task_correlations(evidence.ranked, by="category")
    pair = between.filter(pl.col("one") == "classification", pl.col("other") == "retrieval")["spearman"]
    own["spearman(classification, retrieval)", "all backbones"] = pair[0] if pair.len() else None
    typical = task_correlations(evidence.ranked)["spearman"].median()
    own["spearman(task, task)", "typical task pair, a lower bound"] = typical  # type: ignore[assignment]
    return own


def provenance(evidence: Evidence) -> Sequence[Part]:
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


def _seeds(frame: pl.DataFrame) -> str:
    return ", ".join(str(seed) for seed in frame["seed"].unique().sort())


def _origin(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("experiment", "backbone", "task", "seed", "checkpoint_digest", "dataset_fingerprint", "device")
    return {
        **{name: row.get(name) for name in names[:4]},
        **{name: str(row.get(name) or "not kept") for name in names[4:]},
        "input_size": (row.get("preprocessing") or {}).get("input_size"),
    }
