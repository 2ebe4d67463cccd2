"""Which tasks rank the backbones alike?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.correlation import task_correlations
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Part, Table
from raybench.report.sections.chart_selection import cut_note

MIN_TASKS, MIN_BACKBONES = 2, 3


def correlations(report_data: ReportData) -> Sequence[Part]:
    """Spearman's correlation between every two tasks."""
    tasks, num_backbones = list(report_data.ranking.tasks), report_data.overall.height
    if len(tasks) < MIN_TASKS or num_backbones < MIN_BACKBONES:
        return [
            Absent(
                f"correlation needs {MIN_TASKS} tasks and {MIN_BACKBONES} backbones or more, got "
                f"{len(tasks)} and {num_backbones}."
            )
        ]
    upper = task_correlations(report_data.ranking.ranked)
    lower = upper.select(one="other", other="one", spearman="spearman", num_backbones="num_backbones")
    diagonal = pl.DataFrame({"one": tasks, "other": tasks}).with_columns(spearman=pl.lit(1.0))
    matrix = pl.concat([upper, lower, diagonal], how="diagonal").drop_nulls("spearman")
    shown = tasks[: charts.MAX_COLUMNS]
    return [
        Figure(
            charts.heat_map(
                matrix, x="one", y="other", value="spearman", order=(shown, shown), domain=(-1.0, 1.0)
            ),
            "Spearman correlation between every two tasks.",
            f"Spearman's ρ over {num_backbones} backbones.{cut_note(shown, tasks, 'tasks')}",
        ),
        Table(upper, "Correlation between tasks", "task_correlations", is_folded=True),
    ]
