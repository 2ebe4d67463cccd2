"""Curves of one classifier as SVG files, drawn from what the evaluators' rows declare."""

from xml.etree import ElementTree

import pytest

from raybench.catalog.evaluators import EVALUATORS
from raybench.report.render.curve_figure import curve_svg, curve_svgs

ROWS = {
    "reliability": [
        {"condition": name, "bin": 0.5, "confidence": 0.48, "accuracy": 0.4, "count": 7.0}
        for name in ("clean", "temperature_scaled(fit=val)")
    ],
    "robust_accuracy": [
        {"attack": "linf_pgd", "epsilon": 0.01 * i, "robust_accuracy": 0.9 - 0.2 * i} for i in range(3)
    ],
    "risk_coverage": [{"coverage": 0.5, "risk": 0.1}, {"coverage": 1.0, "risk": 0.2}],
    "corruption_accuracy": [{"corruption": "fog", "severity": 3, "accuracy": 0.5}],
}
"""Rows as raybench's own evaluators leave them."""
CURVES = {curve.name: curve for info in EVALUATORS.values() for curve in info.curves if curve.name in ROWS}


@pytest.mark.parametrize("name", ROWS)
def test_a_curve_is_an_svg_with_its_title_axes_and_series(name):
    curve = CURVES[name]
    svg = ElementTree.fromstring(curve_svg(curve, ROWS[name]))
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    text = " ".join(svg.itertext())
    shown = {curve.title, curve.x_title, curve.y_title}
    if curve.series is not None:
        shown |= {row[curve.series] for row in ROWS[name]}
    assert all(word in text for word in shown)
    assert ("images" in text) == (curve.counts is not None or "images" in curve.x_title)


def test_only_declared_curves_with_rows_are_drawn():
    drawn = curve_svgs("calibration", {"reliability": ROWS["reliability"], "unheard_of": [{"x": 1}]})
    assert list(drawn) == ["reliability"]
    assert curve_svgs("calibration", {"reliability": []}) == {}
    assert curve_svgs("no_such_evaluator", {"reliability": ROWS["reliability"]}) == {}
