"""How do the backbones rank overall, on each task, and against each other?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.zscores import add_task_columns
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Part, Table, Text
from raybench.report.sections.chart_selection import cut_note

INTERVALS = ("zscore_low", "zscore_high", "rank_low", "rank_high", "p_first", "p_top")
FIRST_COLUMNS = ("overall_rank", "backbone", "mean_zscore", *INTERVALS, "mean_rank")
"""The most important columns, which a narrow page shows without scrolling far."""


def ranking(report_data: ReportData) -> Sequence[Part]:
    """The aggregate ranking with intervals."""
    overall = report_data.overall
    if report_data.uncertainty.replicates is not None:
        intervals = report_data.uncertainty.ranking_intervals()
        overall = overall.join(
            intervals.select("backbone", *INTERVALS), on="backbone", how="left", maintain_order="left"
        )
        drawing = charts.intervals(
            intervals.head(charts.MAX_ROWS),
            "mean_zscore",
            "zscore_low",
            "zscore_high",
            "mean z-score, 95 % interval",
        )
    else:
        shown = overall.drop_nulls("mean_zscore").head(charts.MAX_ROWS)
        drawing = charts.bars(shown, "mean_zscore", "mean z-score (no interval)")
    names = overall["backbone"].to_list()
    best_first = ", ".join(names[:5])
    caption = f"Mean z-score over tasks.{cut_note(names[: charts.MAX_ROWS], names, 'backbones')}"
    columns = [name for name in FIRST_COLUMNS if name in overall.columns]
    return [
        Text(
            "A z-score says by how many standard deviations a backbone is better than the task's mean; "
            "the ranking is by its mean over tasks. p top: probability of being among the first three."
        ),
        Figure(drawing, f"Mean z-score per backbone. Best first: {best_first}.", caption),
        Table(overall.select(*columns, pl.exclude(columns)), "Ranking", "ranking"),
    ]


def score_table(report_data: ReportData) -> Sequence[Part]:
    """Scores of all backbones on all tasks."""
    order, tasks = report_data.overall["backbone"].to_list(), list(report_data.ranking.tasks)
    ranked, scores = report_data.ranking.ranked, report_data.scores
    rows, columns = order[: charts.MAX_ROWS], tasks[: charts.MAX_COLUMNS]
    cut = cut_note(rows, order, "backbones") + cut_note(columns, tasks, "tasks")
    drawing = charts.heat_map(
        ranked, x="task", y="backbone", value="zscore", order=(columns, rows), domain=(-2.0, 2.0)
    )
    values = scores.select("backbone", "task", "metric", "direction", "value", "num_seeds")
    if report_data.uncertainty.replicates is not None:
        intervals = report_data.uncertainty.score_intervals()
        added = ("backbone", "task", "low", "high", "standard_error")
        values = values.join(intervals.select(added), on=["backbone", "task"], how="left")
    metrics = "; ".join(f"{task}: {metric}" for task, metric in report_data.ranking.tasks.items())
    wide = add_task_columns(report_data.overall.select("backbone"), ranked)
    parts: list[Part] = [
        Text(f"Metric of each task: {metrics}."),
        Figure(
            drawing,
            "Heat map of z-scores, backbones by tasks; the table below holds the numbers.",
            f"z-scores; blue is better.{cut}",
        ),
        Table(wide, "Scores on test", "scores_wide"),
        Table(values.sort("task", "backbone"), "Scores with 95 % intervals", "scores", is_folded=True),
    ]
    if report_data.protocol_metrics.height:
        caption = "All metrics of the protocols on test, mean over seeds"
        parts.append(Table(report_data.protocol_metrics, caption, "protocol_metrics", is_folded=True))
    return parts


def win_matrix(report_data: ReportData) -> Sequence[Part]:
    """Probability that one backbone beats another, for every pair of backbones."""
    uncertainty = report_data.uncertainty
    if uncertainty.replicates is None:
        return [Absent(uncertainty.note)]
    wins = uncertainty.win_probabilities()
    order = uncertainty.ranking_intervals()["backbone"].to_list()
    shown = order[: charts.MAX_COLUMNS]
    drawing = charts.heat_map(
        wins, x="other", y="backbone", value="probability", order=(shown, shown), domain=(0.0, 1.0)
    )
    return [
        Figure(
            drawing,
            "Matrix of the probability that the row's backbone beats the column's.",
            f"P(row beats column) in mean z-score.{cut_note(shown, order, 'backbones')}",
        ),
        Table(wins, "P(A beats B)", "win_probabilities", is_folded=True),
    ]
