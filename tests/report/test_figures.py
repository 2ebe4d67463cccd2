"""Figures from evaluators' rows: SVG that parses and shows what it should."""

from xml.etree import ElementTree

import pytest

from raybench.report.render.figures import FIGURES, draw

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


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_picture_with_its_words(name):
    drawn = ElementTree.fromstring(draw(name, ROWS[name]))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    words = "".join(drawn.itertext())
    assert {"reliability": "Reliability", "robust_accuracy": "radius"}.get(name, "") in words


def test_nothing_to_draw_gives_no_figure():
    assert draw("reliability", []) is None
    assert draw("unheard_of", ROWS["reliability"]) is None
