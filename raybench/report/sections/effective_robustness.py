"""Which backbones lose less accuracy under shift than their clean accuracy predicts?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.robustness import effective_robustness
from raybench.core.errors import EmptyInputError
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Part, Table, Text
from raybench.report.sections.chart_selection import first_panels, top_backbones


def robustness_beyond_accuracy(report_data: ReportData) -> Sequence[Part]:
    """Effective robustness per backbone and shift, task by task."""
    if report_data.shifted.is_empty():
        reason = "no accuracy under a shift or a corruption was measured;"
        return [Absent(f"{reason} the evaluators `shift` and `corruption` measure it.")]
    tables: list[pl.DataFrame] = []
    absent: list[Part] = []
    for (task,), group in sorted(report_data.shifted.group_by("task")):
        try:
            table = effective_robustness(group)
        except EmptyInputError as error:
            absent.append(Absent(f"effective robustness on {task}: {error}"))
        else:
            tables.append(table.select(pl.lit(task).alias("task"), pl.all()))
    return [*(_comparison(report_data, pl.concat(tables)) if tables else ()), *absent]


def _comparison(report_data: ReportData, table: pl.DataFrame) -> list[Part]:
    mean = table.group_by("backbone").agg(pl.col("effective_robustness").sort().mean())
    best = mean.sort("effective_robustness", "backbone", descending=[True, False]).row(0, named=True)
    shown, note = top_backbones(report_data, table)
    shown, panels_note = first_panels(shown, "condition")
    drawing = charts.agreement(
        shown,
        x="clean",
        y="shifted",
        titles=("clean accuracy", "accuracy under shift"),
        colour="backbone",
        facet="condition",
    )
    return [
        Text(
            "Effective robustness is the accuracy under a shift minus the accuracy that clean accuracy "
            f"predicts, by a line fitted in logits over all backbones. {best['backbone']} has the most on "
            f"average: {100 * best['effective_robustness']:+.1f} points."
        ),
        Figure(
            drawing,
            "Accuracy under shift over clean accuracy, one panel per shift.",
            f"Below the dashed line accuracy is lost; {note}{panels_note}",
        ),
        Table(table, "Effective robustness", "effective_robustness", is_folded=True),
    ]
