"""What did an evaluator measure? One section per row of EVALUATORS, made from what the row declares."""

from collections.abc import Sequence

import polars as pl

from raybench.catalog.evaluators.info import CurveInfo
from raybench.metrics import METRICS
from raybench.report.gather.evaluator_results import EvaluatorResults
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Listing, Part, Table, Text
from raybench.report.sections.chart_selection import first_panels, top_backbones


def evaluator_section(report_data: ReportData, name: str) -> Sequence[Part]:
    """The headline metric per backbone and task, the curves, all metrics, and warnings of one evaluator."""
    results = report_data.evaluators[name]
    if results.is_empty:
        return [Absent(results.problem or f"the evaluator `{name}` has measured nothing here.")]
    parts: list[Part] = [Absent(results.problem)] if results.problem else []
    parts += _headline(results)
    for curve in results.info.curves:
        parts += _curve(report_data, curve, results.curves.get(curve.name, pl.DataFrame()))
    if results.metrics.height:
        qualified = [METRICS[metric] for metric in results.info.metrics if METRICS[metric].qualifier]
        notes = "".join(f"; {metric.name}: {metric.qualifier}" for metric in qualified)
        caption = f"All metrics of `{name}`, mean over seeds{notes}"
        parts.append(Table(results.metrics, caption, f"{name}_metrics", is_folded=True))
    if results.warnings:
        parts += [Text("Warnings:"), Listing(results.warnings)]
    return parts


def _headline(results: EvaluatorResults) -> list[Part]:
    if results.headline.is_empty():
        return []
    info = results.info
    metric = METRICS[info.headline]
    better = "lower" if metric.direction == "min" else "higher"
    caption = f"{metric.label} ({better} is better), mean over seeds; low and high: 95 % interval"
    return [
        Text(f"{info.doc} {results.uncertainty_note}"),
        Table(results.headline, caption, f"{info.name}_headline"),
    ]


def _curve(report_data: ReportData, curve: CurveInfo, rows: pl.DataFrame) -> list[Part]:
    """Mean curves, one line per backbone, and the rows behind them."""
    if rows.is_empty():
        return [Absent(f"{curve.title}: no curve was kept in these sources.")]
    if curve.series is not None and curve.has_panel_per_series:
        figures = [
            _figure(report_data, curve, group, facet=curve.series, where=str(task))
            for (task,), group in sorted(first_panels(rows, "task")[0].group_by("task"))
        ]
    else:
        figures = [_figure(report_data, curve, rows, facet="task", where="all tasks")]
    return [*figures, Table(rows, f"{curve.title}: data", curve.name, is_folded=True)]


def _figure(
    report_data: ReportData, curve: CurveInfo, rows: pl.DataFrame, *, facet: str, where: str
) -> Figure:
    keys = ["backbone", curve.x, facet]
    means = rows.drop_nulls([curve.x, curve.y]).group_by(keys).agg(pl.col(curve.y).sort().mean()).sort(keys)
    shown, note = top_backbones(report_data, means)
    shown, panels_note = first_panels(shown, facet)
    drawing = charts.lines(
        shown,
        x=curve.x,
        y=curve.y,
        titles=(curve.x_title, curve.y_title),
        facet=facet,
        has_diagonal=curve.has_diagonal,
    )
    alt = f"{curve.y_title} over {curve.x_title}, one line per backbone, on {where}."
    return Figure(drawing, alt, f"{curve.title}: {where}, first seed, {note}{panels_note}")
