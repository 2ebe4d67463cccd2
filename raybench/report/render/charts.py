"""Charts of the report: frames → drawings, by Altair."""

import altair as alt
import polars as pl

from raybench.report.render.drawing import LINE, PALETTE, SOFT, Chart, Size, at_both_sizes

ROW = 22
"""Pixels per row of a chart with one row per backbone."""
MAX_MARKED_POINTS = 200
"""Lines with more points in all are drawn without point marks."""
MAX_LABELLED_POINTS = 12
"""With more points in a scatter plot, names would overlap; the table below it lists them."""
MAX_LINES = 8
"""Lines per chart: the palette has eight colours."""
MAX_ROWS = 60
"""Rows of a chart with one row per backbone; the table below it holds all backbones."""
MAX_COLUMNS = 40
"""Columns of a heat map."""
MAX_PANELS = 24
"""Panels per chart."""


@at_both_sizes
def intervals(size: Size, frame: pl.DataFrame, value: str, low: str, high: str, title: str) -> Chart:
    """One row per backbone: a point and its interval."""
    y = alt.Y("backbone:N", sort=frame["backbone"].to_list(), title=None)
    scale = alt.Scale(zero=False)
    base = alt.Chart(frame)
    lines = base.mark_rule(strokeWidth=3, color="#56b4e9").encode(
        x=alt.X(f"{low}:Q", title=title, scale=scale), x2=f"{high}:Q", y=y
    )
    points = base.mark_point(filled=True, size=60, opacity=1, color=PALETTE[0]).encode(
        x=alt.X(f"{value}:Q", scale=scale), y=y
    )
    return (lines + points).properties(width=size.width, height=ROW * frame.height)


@at_both_sizes
def bars(size: Size, frame: pl.DataFrame, value: str, title: str) -> Chart:
    """One bar per backbone, for a ranking without intervals."""
    chart = alt.Chart(frame).mark_bar(color=PALETTE[0])
    y = alt.Y("backbone:N", sort=frame["backbone"].to_list(), title=None)
    encoded = chart.encode(x=alt.X(f"{value}:Q", title=title), y=y)
    return encoded.properties(width=size.width, height=ROW * frame.height)


@at_both_sizes
def heat_map(
    size: Size,
    frame: pl.DataFrame,
    *,
    x: str,
    y: str,
    value: str,
    order: tuple[list[str], list[str]],
    domain: tuple[float, float],
) -> Chart:
    """Cells with their numbers in them; blue is high, red is low, white the middle of `domain`.

    Args:
        order: columns and rows; rows of `frame` with others are left out.
    """
    low, high = domain
    shown = frame.filter(pl.col(x).is_in(order[0]), pl.col(y).is_in(order[1])).select(x, y, value)
    base = alt.Chart(shown).encode(
        x=alt.X(f"{x}:N", sort=order[0], title=None, axis=alt.Axis(labelAngle=-40, orient="top")),
        y=alt.Y(f"{y}:N", sort=order[1], title=None),
    )
    scale = alt.Scale(
        domain=[low, (low + high) / 2, high], range=["#d6604d", "#f7f7f7", "#4393c3"], clamp=True
    )
    cells = base.mark_rect(stroke=LINE).encode(color=alt.Color(f"{value}:Q", scale=scale, legend=None))
    texts = base.mark_text(color="#111111", fontSize=11).encode(text=alt.Text(f"{value}:Q", format=".2f"))
    width = max(size.cell * len(order[0]), 120)
    return (cells + texts).properties(width=width, height=ROW * len(order[1]))


@at_both_sizes
def scatter(size: Size, frame: pl.DataFrame, x: str, title: str, colour: str) -> Chart:
    """Mean z-score over a positive quantity on a logarithmic axis; few points are labelled."""
    y = "mean_zscore"
    base = alt.Chart(frame).encode(
        x=alt.X(f"{x}:Q", scale=alt.Scale(type="log", padding=60, nice=False), title=title),
        y=alt.Y(f"{y}:Q", title="mean z-score", scale=alt.Scale(padding=12)),
    )
    chart: alt.Chart | alt.LayerChart = _points(base, colour, alt.Legend(orient="top", title=None))
    if frame.height <= MAX_LABELLED_POINTS:
        for side, dy in (("above", -10), ("below", 13)):
            labelled = alt.Chart(_with_label_sides(frame, x, y).filter(side=side))
            text = labelled.mark_text(align="center", dy=dy, fontSize=10, color=SOFT)
            chart += text.encode(x=f"{x}:Q", y=f"{y}:Q", text="backbone:N")
    return chart.properties(width=max(size.width, size.panel), height=320)


def _points(base: alt.Chart, colour: str, legend: alt.Legend) -> alt.Chart:
    """Points whose colour and shape tell the values of a column apart."""
    return base.mark_point(filled=True, size=80, opacity=0.9).encode(
        color=alt.Color(f"{colour}:N", legend=legend), shape=alt.Shape(f"{colour}:N", legend=legend)
    )


def _with_label_sides(frame: pl.DataFrame, x: str, y: str) -> pl.DataFrame:
    """Add `side`: where a point's label overlaps no other, `above`, `below` or null (nowhere)."""
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


@at_both_sizes
def critical_difference_diagram(size: Size, ranks: pl.DataFrame, groups: pl.DataFrame) -> Chart:
    """Mean ranks, best on top; a vertical bar joins backbones that Nemenyi's test cannot tell apart.

    Args:
        ranks: backbone, mean_rank, best first.
        groups: `backbones` (list); names that `ranks` lacks are left out.
    """
    order = ranks["backbone"].to_list()
    shown = set(order)
    y = alt.Y("backbone:N", sort=order, title=None, axis=alt.Axis(grid=True))
    x = alt.X("mean_rank:Q", title="mean rank over tasks (1 is best)", scale=alt.Scale(zero=False))
    points = alt.Chart(ranks).mark_point(filled=True, size=70, opacity=1, color=PALETTE[0]).encode(x=x, y=y)
    chart: alt.Chart | alt.LayerChart = points
    if groups.height:
        worst = float(ranks["mean_rank"].max() or 0.0)  # type: ignore[arg-type]
        gap = 0.03 * (worst - 1.0)  # A share of the axis: as wide as two bars, however many backbones.
        rows = [
            (name, worst + gap * (number + 1), number)
            for number, names in enumerate(groups["backbones"], 1)
            for name in names
            if name in shown
        ]
        joined = alt.Chart(pl.DataFrame(rows, schema=["backbone", "x", "group"], orient="row"))
        bar = joined.mark_line(strokeWidth=5, color=PALETTE[1], strokeCap="round")
        chart = points + bar.encode(x="x:Q", y=y, detail="group:N")
    return chart.properties(width=size.width, height=ROW * len(order))


def line_chart(
    size: Size,
    frame: pl.DataFrame,
    *,
    x: str,
    y: str,
    titles: tuple[str, str],
    colour: str | None = "backbone",
    facet: str | None = None,
    has_diagonal: bool = False,
) -> Chart:
    """One line per value of `colour`, one panel per value of `facet`."""
    base = alt.Chart(frame)
    scale = alt.Scale(zero=False)
    line = base.mark_line(point=frame.height <= MAX_MARKED_POINTS).encode(
        x=alt.X(f"{x}:Q", title=titles[0], scale=scale), y=alt.Y(f"{y}:Q", title=titles[1], scale=scale)
    )
    if colour is not None:
        domain = alt.Scale(domain=frame[colour].unique().sort().to_list())
        legend = alt.Legend(orient="bottom", columns=size.columns, title=None)
        line = line.encode(
            color=alt.Color(f"{colour}:N", scale=domain, legend=legend),
            strokeDash=alt.StrokeDash(f"{colour}:N", legend=None),
        )
    chart: alt.Chart | alt.LayerChart = line
    if has_diagonal:
        diagonal = base.mark_line(color=SOFT, strokeDash=[4, 4]).encode(x=f"{x}:Q", y=f"{x}:Q")
        chart = diagonal + line
    chart = chart.properties(width=size.panel, height=200)
    if facet is None:
        return chart
    panels: alt.FacetChart = chart.facet(alt.Facet(f"{facet}:N", title=None), columns=size.columns)
    # Tasks differ in level: on one scale the curves of each would be flat.
    return panels.resolve_scale(y="independent") if facet == "task" else panels


lines = at_both_sizes(line_chart)


@at_both_sizes
def agreement(
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
    base = alt.Chart().transform_filter(f"isValid(datum['{x}'])")
    points = base.mark_point(filled=True, size=80, opacity=0.9, color=PALETTE[0])
    if colour is not None:
        points = _points(base, colour, alt.Legend(orient="bottom", columns=size.columns, title=None))
    points = points.encode(
        x=alt.X(f"{x}:Q", title=titles[0], scale=scale), y=alt.Y(f"{y}:Q", title=titles[1], scale=scale)
    )
    ends = frame.select(facet).unique().join(pl.DataFrame({"end": [low, high]}), how="cross")
    equal = alt.Chart().transform_filter("isValid(datum.end)").mark_line(color=SOFT, strokeDash=[4, 4])
    both = equal.encode(x=alt.X("end:Q", scale=scale), y=alt.Y("end:Q", scale=scale)) + points
    data = pl.concat([frame.select(facet, x, y, *([colour] if colour else [])), ends], how="diagonal")
    panels = alt.layer(both, data=data).properties(width=size.panel, height=size.panel)
    return panels.facet(alt.Facet(f"{facet}:N", title=None), columns=size.columns)
