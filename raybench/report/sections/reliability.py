"""The section on reliability and robustness: `ReportData` → parts of a page."""

from collections.abc import Mapping, Sequence

import polars as pl

from raybench.analysis.robustness import effective_robustness
from raybench.core.errors import EmptyInputError
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Listing, Part, Table, Text
from raybench.report.sections.top_backbones import these, top_backbones

CURVES: Mapping[str, tuple[str, str, str, str, str, str | None]] = {
    "reliability": ("calibration", "confidence", "accuracy", "confidence", "accuracy", "condition"),
    "risk_coverage": ("selective", "coverage", "risk", "share of images answered", "error rate", None),
    "robust_accuracy": (
        "adversarial", "epsilon", "robust_accuracy", "radius (pixels in [0, 1])", "robust accuracy", "attack",
    ),
    "corruption_accuracy": ("corruption", "severity", "accuracy", "severity", "accuracy", None),
}  # fmt: skip
"""Figure → evaluator, x, y, their titles, and the column that parts panels."""


def robustness(evidence: ReportData) -> Sequence[Part]:
    """Evaluators' curves, one line per backbone."""
    parts: list[Part] = []
    for figure, (evaluator, x, y, x_title, y_title, facet) in CURVES.items():
        rows = pl.DataFrame() if evidence.curves.is_empty() else evidence.curves.filter(figure=figure)
        name = figure.replace("_", " ")
        if rows.is_empty():
            parts.append(Absent(f"{name}: the evaluator `{evaluator}` has measured nothing here."))
            continue
        rows = rows.select(name for name in rows.columns if rows[name].null_count() < rows.height)
        by_task = sorted(rows.group_by("task")) if facet else [(("all tasks",), rows)]
        for (task,), group in by_task:
            keys = ["backbone", x, facet or "task"]
            drawn = group.drop_nulls([x, y]).group_by(keys).agg(pl.col(y).sort().mean()).sort(keys)
            shown = top_backbones(evidence, drawn)
            drawing = charts.lines(
                shown,
                x=x,
                y=y,
                titles=(x_title, y_title),
                facet=facet or "task",
                is_diagonal=figure == "reliability",
            )
            num_shown = shown["backbone"].n_unique()
            caption = f"{name} on {task}, first seed, {these(num_shown, drawn['backbone'].n_unique())}"
            parts.append(
                Figure(drawing, f"{y_title} over {x_title}, one line per backbone, on {task}.", caption)
            )
        parts.append(Table(rows.drop("figure"), f"Rows of {name}", figure, is_folded=True))
    parts += _beyond_accuracy(evidence)
    if evidence.warnings:
        parts += [Text("Evaluators warned:"), Listing(evidence.warnings)]
    return parts


def _beyond_accuracy(evidence: ReportData) -> list[Part]:
    """Effective robustness: who loses less under a shift than its clean accuracy promises."""
    if evidence.shifted.is_empty():
        reason = "no accuracy under a shift or a corruption was measured."
        return [Absent(f"effective robustness: {reason} The evaluators `shift` and `corruption` do.")]
    frames, silent = [], []
    for (task,), group in sorted(evidence.shifted.group_by("task")):
        try:
            found = effective_robustness(group)
        except EmptyInputError as error:
            silent.append(Absent(f"effective robustness on {task}: {error}"))
        else:
            frames.append(found.select(pl.lit(task).alias("task"), pl.all()))
    if not frames:
        return [*silent]
    table = pl.concat(frames)
    shown = top_backbones(evidence, table)
    mean = table.group_by("backbone").agg(pl.col("effective_robustness").sort().mean())
    best = mean.sort("effective_robustness", "backbone", descending=[True, False]).row(0, named=True)
    drawing = charts.against(
        shown, x="clean", y="shifted", titles=("clean accuracy", "accuracy under shift"), colour="backbone",
        facet="condition",
    )  # fmt: skip
    return [
        Text(
            "Effective robustness is accuracy under a shift beyond what a line through all backbones, in "
            f"logits, promises from clean accuracy. {best['backbone']} has the most on average: "
            f"{100 * best['effective_robustness']:+.1f} points."
        ),
        Figure(
            drawing,
            "Accuracy under shift over clean accuracy, one panel per shift.",
            f"Under the dashed line accuracy is lost; {these(shown['backbone'].n_unique(), mean.height)}",
        ),
        Table(table, "Effective robustness", "effective_robustness", is_folded=True),
        *silent,
    ]
