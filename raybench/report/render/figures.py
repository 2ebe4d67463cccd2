"""Figures of what evaluators found, as SVG text: drawn from the rows that they leave, by Altair."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl
import vl_convert

Rows = Sequence[Mapping[str, Any]]
SIZE = 320
DIAGONAL = pl.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0]})


def draw(name: str, rows: Rows) -> str | None:
    """The figure of that name as SVG; None where there is no such figure or nothing to draw."""
    if name not in FIGURES or not rows:
        return None
    return str(vl_convert.vegalite_to_svg(FIGURES[name](rows).to_json()))


def reliability(rows: Rows) -> alt.VConcatChart:
    """Accuracy over confidence, before and after temperature scaling, and below it the numbers of images."""
    frame = pl.DataFrame(rows)
    fraction = alt.Scale(domain=[0, 1])
    colour = alt.Color("condition:N", title=None, legend=alt.Legend(orient="top"))
    base = alt.Chart(frame).encode(x=alt.X("confidence:Q", scale=fraction, title="confidence"), color=colour)
    lines = base.mark_line(point=True).encode(y=alt.Y("accuracy:Q", scale=fraction, title="accuracy"))
    perfect = (
        alt.Chart(DIAGONAL)
        .mark_line(strokeDash=[4, 4], color="grey")
        .encode(x="x:Q", y=alt.Y("y:Q", title="accuracy"))
    )
    counts = (
        alt.Chart(frame)
        .mark_bar(opacity=0.6)
        .encode(
            x=alt.X("bin:Q", scale=fraction, title="confidence"),
            y=alt.Y("count:Q", stack=None, title="images"),
            color=colour,
        )
    )
    return alt.vconcat(
        (perfect + lines).properties(width=SIZE, height=SIZE, title="Reliability on test"),
        counts.properties(width=SIZE, height=SIZE // 4),
    )


def robust_accuracy(rows: Rows) -> alt.Chart:
    """Robust accuracy over the attack's radius."""
    chart = alt.Chart(pl.DataFrame(rows)).mark_line(point=True)
    return chart.encode(
        x=alt.X("epsilon:Q", title="radius (pixels in [0, 1])"),
        y=alt.Y("robust_accuracy:Q", scale=alt.Scale(domain=[0, 1]), title="robust accuracy"),
        color=alt.Color("attack:N", title=None, legend=alt.Legend(orient="top")),
    ).properties(width=SIZE, height=SIZE, title="Robust accuracy on a subset of test")


def risk_coverage(rows: Rows) -> alt.Chart:
    """Error rate on the surest answers over their share."""
    chart = alt.Chart(pl.DataFrame(rows)).mark_line()
    return chart.encode(
        x=alt.X("coverage:Q", scale=alt.Scale(domain=[0, 1]), title="share of images answered"),
        y=alt.Y("risk:Q", title="error rate"),
    ).properties(width=SIZE, height=SIZE, title="Risk and coverage on test")


def corruption_accuracy(rows: Rows) -> alt.Chart:
    """Accuracy over severity, one line per corruption."""
    chart = alt.Chart(pl.DataFrame(rows)).mark_line(point=True)
    return chart.encode(
        x=alt.X("severity:O", title="severity"),
        y=alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1])),
        color=alt.Color("corruption:N", title=None),
    ).properties(width=SIZE, height=SIZE, title="Accuracy under corruptions")


FIGURES: Mapping[str, Callable[[Rows], Any]] = {
    "reliability": reliability,
    "robust_accuracy": robust_accuracy,
    "risk_coverage": risk_coverage,
    "corruption_accuracy": corruption_accuracy,
}
"""Name of a curve, as evaluators give it → its figure."""
