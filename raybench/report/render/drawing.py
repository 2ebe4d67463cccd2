"""Altair charts → SVG text at two widths. page.css recolours ink and grid lines in dark mode."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

import altair as alt
import vl_convert

INK, SOFT, LINE = "#1f2328", "#57606a", "#d0d7de"
PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9", "#7f7f7f", "#6a3d9a"]
"""Okabe and Ito's colours, darkened where contrast with white requires it."""
Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Pixels of a drawing's parts."""

    width: int
    """Width of the plot in a chart with one row per backbone."""
    panel: int
    """Width of one panel of several."""
    cell: int
    """Width of a heat map's cell."""
    columns: int
    """Panels, and legend entries, side by side."""
    label: int
    """Characters of a name; a longer one loses its middle, because both ends tell backbones apart."""
    padding: int
    """Margin, because a browser's font may be wider than the one that vl-convert measures labels with."""


WIDE = Size(width=560, panel=290, cell=46, columns=2, label=60, padding=28)
NARROW = Size(width=150, panel=250, cell=36, columns=1, label=24, padding=8)
"""For a phone of 390 pixels: a wide drawing scaled down to it would have letters of 6 pixels."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture as SVG text, for wide and for narrow pages."""

    wide: str
    narrow: str


def at_both_sizes(build: Callable[Concatenate[Size, Arguments], Chart]) -> Callable[Arguments, Drawing]:
    """Decorate a chart builder so that it returns the chart drawn at both sizes."""

    @functools.wraps(build)
    def draw(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Drawing:
        wide, narrow = (svg_of(build(size, *args, **kwargs), size) for size in (WIDE, NARROW))
        return Drawing(wide=wide, narrow=narrow)

    return draw


def svg_of(chart: Chart, size: Size, *, background: str | None = None) -> str:
    """The chart as SVG text, transparent by default."""
    with alt.data_transformers.disable_max_rows():  # Altair's limit is 5,000; sections cut charts.
        spec = chart.to_dict() | {"config": _config(size), "background": background}
    return str(vl_convert.vegalite_to_svg(spec))


def _config(size: Size) -> dict[str, Any]:
    half = size.label // 2
    shortened = (
        f"length(datum.label) > {size.label} ? slice(datum.label, 0, {half}) + '…' + "
        f"slice(datum.label, -{half}) : datum.label"
    )
    return {
        "aria": False,  # The page labels a figure as a whole.
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
