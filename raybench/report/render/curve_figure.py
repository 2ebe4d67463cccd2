"""A curve of one classifier as an SVG file, for MLflow's artifacts."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.evaluators.info import CurveInfo
from raybench.report.render.charts import line_chart
from raybench.report.render.drawing import PALETTE, WIDE, Chart, svg_of

Rows = Sequence[Mapping[str, Any]]


def curve_svgs(evaluator: str, curves: Mapping[str, Rows]) -> dict[str, str]:
    """Curve name → SVG text, for the curves that the evaluator's row describes and that have rows.

    Args:
        evaluator: a name in EVALUATORS.
        curves: curve name → rows, as the evaluator left them.
    """
    described = EVALUATORS[evaluator].curves if evaluator in EVALUATORS else ()
    return {curve.name: curve_svg(curve, rows) for curve in described if (rows := curves.get(curve.name))}


def curve_svg(curve: CurveInfo, rows: Rows) -> str:
    """One line per value of the curve's `series`, and below it the numbers of images if they are known."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    titles = (curve.x_title, curve.y_title)
    chart = line_chart(
        WIDE,
        frame,
        x=curve.x,
        y=curve.y,
        titles=titles,
        colour=curve.series,
        has_diagonal=curve.has_diagonal,
    ).properties(title=curve.title)
    if curve.counts is not None:
        chart = alt.vconcat(chart, _histogram(curve, frame))
    return svg_of(chart, WIDE, background="white")


def _histogram(curve: CurveInfo, frame: pl.DataFrame) -> Chart:
    """Overlaid bars of the numbers of images."""
    colour = f"{curve.series}:N" if curve.series else alt.value(PALETTE[0])
    bars = alt.Chart(frame).mark_bar(opacity=0.6)
    return bars.encode(
        x=alt.X(f"{curve.x}:Q", title=curve.x_title),
        y=alt.Y(f"{curve.counts}:Q", stack=None, title="images"),
        color=colour,
    ).properties(width=WIDE.panel, height=60)
