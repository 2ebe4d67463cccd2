"""Frames → drawings as SVG text, by Altair. page.css turns the colours of ink and grid in the dark."""

import altair as alt
import polars as pl
import vl_convert

INK, SOFT, LINE = "#1f2328", "#57606a", "#d0d7de"
WIDTH, ROW = 420, 22
MAX_POINTS = 200
"""More points would hide their lines."""
MAX_LINES = 8
"""More lines than colours that can be told apart would be shown by none."""
PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9", "#7f7f7f", "#6a3d9a"]
"""Okabe and Ito's, darkened where white paper demands it."""


def svg_of(chart: "alt.TopLevelMixin") -> str:
    """The chart as SVG text without background."""
    config = {
        "background": None,
        # A browser's font may be wider than the one that vl-convert measures labels with.
        "padding": {"left": 28, "right": 24, "top": 6, "bottom": 6},
        "view": {"stroke": None},
        "axis": {
            "labelColor": INK,
            "titleColor": SOFT,
            "gridColor": LINE,
            "domainColor": LINE,
            "tickColor": LINE,
            "labelLimit": 330,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "legend": {"labelColor": INK, "titleColor": SOFT, "labelLimit": 220, "labelFontSize": 12},
        "header": {"labelColor": INK, "titleColor": SOFT, "labelFontSize": 12},
        "title": {"color": INK, "fontSize": 13},
        "range": {"category": PALETTE},
    }
    return str(vl_convert.vegalite_to_svg({**chart.to_dict(), "config": config, "background": None}))


def intervals(frame: pl.DataFrame, value: str, low: str, high: str, title: str) -> str:
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
    return svg_of((lines + points).properties(width=WIDTH, height=ROW * frame.height))


def bars(frame: pl.DataFrame, value: str, title: str) -> str:
    """One bar per backbone, for a standing without intervals."""
    chart = alt.Chart(frame).mark_bar(color="#0072b2")
    y = alt.Y("backbone:N", sort=frame["backbone"].to_list(), title=None)
    return svg_of(
        chart.encode(x=alt.X(f"{value}:Q", title=title), y=y).properties(
            width=WIDTH, height=ROW * frame.height
        )
    )


def heat_map(
    frame: pl.DataFrame,
    *,
    x: str,
    y: str,
    value: str,
    order: tuple[list[str], list[str]],
    domain: tuple[float, float],
    pattern: str = ".2f",
) -> str:
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
    size = {"width": max(46 * len(order[0]), 120), "height": ROW * len(order[1])}
    return svg_of((cells + texts).properties(**size))


def scatter(frame: pl.DataFrame, x: str, title: str, colour: str, y: str = "mean_zscore") -> str:
    """Mean z-score over a logarithmic fact; names beside the points where there are few."""
    base = alt.Chart(frame).encode(
        x=alt.X(f"{x}:Q", scale=alt.Scale(type="log", padding=60, nice=False), title=title),
        y=alt.Y(f"{y}:Q", title="mean z-score", scale=alt.Scale(padding=12)),
    )
    legend = alt.Legend(orient="top", title=None)
    points = base.mark_point(filled=True, size=80, opacity=0.9).encode(
        color=alt.Color(f"{colour}:N", legend=legend), shape=alt.Shape(f"{colour}:N", legend=legend)
    )
    names = base.mark_text(align="center", dy=-9, fontSize=10, color=SOFT).encode(text="backbone:N")
    chart = points + names if frame.height <= 12 else points
    return svg_of(chart.properties(width=WIDTH + 100, height=320))


def critical_difference_diagram(ranks: pl.DataFrame, groups: pl.DataFrame) -> str:
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
        right = float(ranks["mean_rank"].max() or 0.0) * 1.03  # type: ignore[arg-type]
        rows = [
            (name, right + 0.25 * number, number)
            for number, names in enumerate(groups["backbones"], 1)
            for name in names
        ]
        joined = pl.DataFrame(rows, schema=["backbone", "place", "group"], orient="row")
        chart = points + alt.Chart(joined).mark_line(
            strokeWidth=5, color="#d55e00", strokeCap="round"
        ).encode(x="place:Q", y=y, detail="group:N")
    return svg_of(chart.properties(width=WIDTH, height=ROW * len(order)))


def lines(
    frame: pl.DataFrame,
    *,
    x: str,
    y: str,
    titles: tuple[str, str],
    facet: str | None,
    is_diagonal: bool = False,
) -> str:
    """One line per backbone, one panel per value of `facet`."""
    names = frame["backbone"].unique().sort().to_list()
    colour = alt.Color(
        "backbone:N", scale=alt.Scale(domain=names), legend=alt.Legend(orient="bottom", columns=2, title=None)
    )
    drawn: alt.Chart | alt.LayerChart = (
        alt.Chart(frame)
        .mark_line(point=frame.height <= MAX_POINTS)
        .encode(
            x=alt.X(f"{x}:Q", title=titles[0], scale=alt.Scale(zero=False)),
            y=alt.Y(f"{y}:Q", title=titles[1], scale=alt.Scale(zero=False)),
            color=colour,
            strokeDash=alt.StrokeDash("backbone:N", legend=None),
        )
        .properties(width=250, height=200)
    )
    if is_diagonal:
        rule = alt.Chart(frame).mark_line(color=SOFT, strokeDash=[4, 4]).encode(x=f"{x}:Q", y=f"{x}:Q")
        drawn = (rule + drawn).properties(width=250, height=200)
    if facet is None:
        return svg_of(drawn)
    panels = drawn.facet(alt.Facet(f"{facet}:N", title=None), columns=2)
    # Tasks differ in level: on one scale the curves of each would be flat.
    return svg_of(panels.resolve_scale(y="independent") if facet == "task" else panels)
