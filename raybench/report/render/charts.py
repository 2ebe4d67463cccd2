"""Frames → drawings as SVG text, by Altair. page.css turns the colours of ink and grid in the dark."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec

import altair as alt
import polars as pl
import vl_convert

INK, SOFT, LINE = "#1f2328", "#57606a", "#d0d7de"
ROW = 22
MAX_POINTS = 200
"""More points would hide their lines."""
MAX_NAMED = 12
"""Names beside more points would cover each other; the table below says them."""
MAX_LINES = 8
"""More lines than colours that can be told apart would be shown by none."""
PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9", "#7f7f7f", "#6a3d9a"]
"""Okabe and Ito's, darkened where white paper demands it."""
Chart = alt.Chart | alt.LayerChart | alt.FacetChart
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Pixels of a drawing's parts."""

    width: int
    """Of the plot of a chart with one row per backbone."""
    panel: int
    """Width of one panel of several."""
    cell: int
    """Width of a cell of a heat map."""
    columns: int
    """Panels, and entries of a legend, side by side."""
    label: int
    """Characters of a name; of a longer one the middle is left out, as both ends tell backbones apart."""
    padding: int
    """A browser's font may be wider than the one that vl-convert measures labels with."""


WIDE = Size(width=560, panel=290, cell=46, columns=2, label=60, padding=28)
NARROW = Size(width=150, panel=250, cell=36, columns=1, label=24, padding=8)
"""For a phone of 390 pixels: a wide drawing scaled to it would have letters of 6."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture for two widths of the page, as SVG text without background."""

    wide: str
    narrow: str


def drawn(build: Callable[Concatenate[Size, Arguments], Chart]) -> Callable[Arguments, Drawing]:
    """Build the chart at both sizes."""

    @functools.wraps(build)
    def draw(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Drawing:
        wide, narrow = (svg_of(build(size, *args, **kwargs), size) for size in (WIDE, NARROW))
        return Drawing(wide=wide, narrow=narrow)

    return draw


def svg_of(chart: Chart, size: Size) -> str:
    """The chart as SVG text without background."""
    half = size.label // 2
    shortened = (
        f"length(datum.label) > {size.label} ? slice(datum.label, 0, {half}) + '…' + "
        f"slice(datum.label, -{half}) : datum.label"
    )
    config = {
        "aria": False,  # The figure is labelled as a whole.
        "background": None,
        "padding": {"left": size.padding, "right": size.padding, "top": 6, "bottom": 6},
        "view": {"stroke": None},
        "axis": {
            "labelColor": INK,
            "titleColor": SOFT,
            "gridColor": LINE,
            "domainColor": LINE,
            "tickColor": LINE,
            "labelLimit": 400,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "axisDiscrete": {"labelExpr": shortened},
        "legend": {"labelColor": INK, "titleColor": SOFT, "labelLimit": 300, "labelFontSize": 12},
        "header": {"labelColor": INK, "titleColor": SOFT, "labelFontSize": 12},
        "title": {"color": INK, "fontSize": 13},
        "range": {"category": PALETTE},
    }
    return str(vl_convert.vegalite_to_svg({**chart.to_dict(), "config": config, "background": None}))


@drawn
def intervals(size: Size, frame: pl.DataFrame, value: str, low: str, high: str, title: str) -> Chart:
    """One row per backbone: a point and its interval."""
    y = alt.Y("backbone:N", sort=frame["backbone"].to_list(), title=None)
    scale = alt.Scale(zero=False)
    base = alt.Chart(frame)
    lines = base.mark_rule(strokeWidth=3, color="#56b4e9").encode(
        x=alt.X(f"{low}:Q", title=title, scale=scale), x2=f"{high}:Q", y=y
    )
    points = base.mark_point(filled=True, size=60, opacity=1, color="#0072b2").encode(
        x=alt.X(f"{value}:Q", scale=scale), y=y
    )
    return (lines + points).properties(width=size.width, height=ROW * frame.height)


@drawn
def bars(size: Size, frame: pl.DataFrame, value: str, title: str) -> Chart:
    """One bar per backbone, for a ranking without intervals."""
    chart = alt.Chart(frame).mark_bar(color="#0072b2")
    y = alt.Y("backbone:N", sort=frame["backbone"].to_list(), title=None)
    encoded = chart.encode(x=alt.X(f"{value}:Q", title=title), y=y)
    return encoded.properties(width=size.width, height=ROW * frame.height)


@drawn
def heat_map(
    size: Size,
    frame: pl.DataFrame,
    *,
    x: str,
    y: str,
    value: str,
    order: tuple[list[str], list[str]],
    domain: tuple[float, float],
    pattern: str = ".2f",
) -> Chart:
    """Cells with their numbers in them; blue is high, red is low, white the middle of `domain`."""
    low, high = domain
    base = alt.Chart(frame).encode(
        x=alt.X(f"{x}:N", sort=order[0], title=None, axis=alt.Axis(labelAngle=-40, orient="top")),
        y=alt.Y(f"{y}:N", sort=order[1], title=None),
    )
    scale = alt.Scale(
        domain=[low, (low + high) / 2, high], range=["#d6604d", "#f7f7f7", "#4393c3"], clamp=True
    )
    cells = base.mark_rect(stroke=LINE).encode(color=alt.Color(f"{value}:Q", scale=scale, legend=None))
    texts = base.mark_text(color="#111111", fontSize=11).encode(text=alt.Text(f"{value}:Q", format=pattern))
    width = max(size.cell * len(order[0]), 120)
    return (cells + texts).properties(width=width, height=ROW * len(order[1]))


@drawn
def scatter(
    size: Size, frame: pl.DataFrame, x: str, title: str, colour: str, y: str = "mean_zscore"
) -> Chart:
    """Mean z-score over a logarithmic fact; names beside the points where there are few."""
    base = alt.Chart(frame).encode(
        x=alt.X(f"{x}:Q", scale=alt.Scale(type="log", padding=60, nice=False), title=title),
        y=alt.Y(f"{y}:Q", title="mean z-score", scale=alt.Scale(padding=12)),
    )
    legend = alt.Legend(orient="top", title=None)
    points = base.mark_point(filled=True, size=80, opacity=0.9).encode(
        color=alt.Color(f"{colour}:N", legend=legend), shape=alt.Shape(f"{colour}:N", legend=legend)
    )
    chart: alt.Chart | alt.LayerChart = points
    if frame.height <= MAX_NAMED:
        for side, dy in (("above", -10), ("below", 13)):
            named = alt.Chart(_with_sides(frame, x, y).filter(side=side))
            text = named.mark_text(align="center", dy=dy, fontSize=10, color=SOFT)
            chart += text.encode(x=f"{x}:Q", y=f"{y}:Q", text="backbone:N")
    return chart.properties(width=max(size.width, size.panel), height=320)


def _with_sides(frame: pl.DataFrame, x: str, y: str) -> pl.DataFrame:
    """Add `side`: where a point's name fits without lying on another: above, below or (null) nowhere."""
    spots = frame.select(pl.col(x).log(), pl.col(y)).to_numpy()
    spans = [max(float(spots[:, axis].max() - spots[:, axis].min()), 1e-9) for axis in (0, 1)]
    taken: list[tuple[float, float]] = []
    sides: list[str | None] = []
    for across, up in (spots / spans).tolist():
        free = [
            (side, spot)
            for side, spot in (("above", (across, up + 0.03)), ("below", (across, up - 0.04)))
            if not any(abs(spot[0] - a) < 0.3 and abs(spot[1] - u) < 0.045 for a, u in taken)
        ]
        sides.append(free[0][0] if free else None)
        taken += [free[0][1]] if free else []
    return frame.with_columns(side=pl.Series(sides, dtype=pl.String))


@drawn
def critical_difference_diagram(size: Size, ranks: pl.DataFrame, groups: pl.DataFrame) -> Chart:
    """Mean ranks, best on top; a vertical bar joins backbones that Nemenyi's test cannot tell apart."""
    order = ranks["backbone"].to_list()
    y = alt.Y("backbone:N", sort=order, title=None, axis=alt.Axis(grid=True))
    points = (
        alt.Chart(ranks)
        .mark_point(filled=True, size=70, opacity=1, color="#0072b2")
        .encode(
            x=alt.X("mean_rank:Q", title="mean rank over tasks (1 is best)", scale=alt.Scale(zero=False)), y=y
        )
    )
    chart: alt.Chart | alt.LayerChart = points
    if groups.height:
        worst = float(ranks["mean_rank"].max() or 0.0)  # type: ignore[arg-type]
        gap = 0.03 * (worst - 1.0)  # Of the axis: as wide as two bars, whatever the number of backbones.
        rows = [
            (name, worst + gap * (number + 1), number)
            for number, names in enumerate(groups["backbones"], 1)
            for name in names
        ]
        joined = pl.DataFrame(rows, schema=["backbone", "place", "group"], orient="row")
        chart = points + alt.Chart(joined).mark_line(
            strokeWidth=5, color="#d55e00", strokeCap="round"
        ).encode(x="place:Q", y=y, detail="group:N")
    return chart.properties(width=size.width, height=ROW * len(order))


@drawn
def lines(
    size: Size,
    frame: pl.DataFrame,
    *,
    x: str,
    y: str,
    titles: tuple[str, str],
    facet: str | None,
    is_diagonal: bool = False,
) -> Chart:
    """One line per backbone, one panel per value of `facet`."""
    names = frame["backbone"].unique().sort().to_list()
    colour = alt.Color(
        "backbone:N",
        scale=alt.Scale(domain=names),
        legend=alt.Legend(orient="bottom", columns=size.columns, title=None),
    )
    shown: alt.Chart | alt.LayerChart = (
        alt.Chart(frame)
        .mark_line(point=frame.height <= MAX_POINTS)
        .encode(
            x=alt.X(f"{x}:Q", title=titles[0], scale=alt.Scale(zero=False)),
            y=alt.Y(f"{y}:Q", title=titles[1], scale=alt.Scale(zero=False)),
            color=colour,
            strokeDash=alt.StrokeDash("backbone:N", legend=None),
        )
        .properties(width=size.panel, height=200)
    )
    if is_diagonal:
        rule = alt.Chart(frame).mark_line(color=SOFT, strokeDash=[4, 4]).encode(x=f"{x}:Q", y=f"{x}:Q")
        shown = (rule + shown).properties(width=size.panel, height=200)
    if facet is None:
        return shown
    panels: alt.FacetChart = shown.facet(alt.Facet(f"{facet}:N", title=None), columns=size.columns)
    # Tasks differ in level: on one scale the curves of each would be flat.
    return panels.resolve_scale(y="independent") if facet == "task" else panels


@drawn
def against(
    size: Size,
    frame: pl.DataFrame,
    *,
    x: str,
    y: str,
    titles: tuple[str, str],
    colour: str | None,
    facet: str,
) -> Chart:
    """One point per row, one panel per value of `facet`; on the dashed line both numbers are equal."""
    low, high = (float(pick(frame[x].to_list() + frame[y].to_list())) for pick in (min, max))
    margin = 0.05 * (high - low) or 0.05
    scale = alt.Scale(domain=[low - margin, high + margin], nice=False)
    shown = (
        alt.Chart()
        .transform_filter(f"isValid(datum['{x}'])")
        .encode(
            x=alt.X(f"{x}:Q", title=titles[0], scale=scale), y=alt.Y(f"{y}:Q", title=titles[1], scale=scale)
        )
    )
    points = shown.mark_point(filled=True, size=80, opacity=0.9, color=PALETTE[0])
    if colour is not None:
        legend = alt.Legend(orient="bottom", columns=size.columns, title=None)
        points = points.encode(
            color=alt.Color(f"{colour}:N", legend=legend), shape=alt.Shape(f"{colour}:N", legend=legend)
        )
    ends = frame.select(facet).unique().join(pl.DataFrame({"end": [low, high]}), how="cross")
    equal = alt.Chart().transform_filter("isValid(datum.end)").mark_line(color=SOFT, strokeDash=[4, 4])
    both = equal.encode(x=alt.X("end:Q", scale=scale), y=alt.Y("end:Q", scale=scale)) + points
    whole = pl.concat([frame.select(facet, x, y, *([colour] if colour else [])), ends], how="diagonal")
    panels = alt.layer(both, data=whole).properties(width=size.panel, height=size.panel)
    return panels.facet(alt.Facet(f"{facet}:N", title=None), columns=size.columns)
