"""docs/architecture.md names existing packages, modules, functions and tests; its picture is current."""

import ast
import re
from pathlib import Path

import pytest

from docs import picture

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`([\w/]+\.py):(\w+)`", TEXT)))


def test_the_picture_is_drawn_from_the_present_imports():
    committed = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert picture.svg(picture.imports()) == committed, "run `make picture`"


def test_every_package_has_a_row_and_an_existing_module_to_read_first():
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| `([\w/]+\.py)` \|$", TEXT, re.MULTILINE))
    assert set(rows) == set(picture.imports())
    assert all((ROOT / "raybench" / module).is_file() for module in rows.values())


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_named_function_or_class_exists(module, name):
    tree = ast.parse((ROOT / "raybench" / module).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_named_test_exists():
    paths = set(re.findall(r"`(tests/[\w/.]+)`", TEXT))
    assert len(paths) > 15
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_implied_edges_are_left_out_and_layers_lead_downwards():
    edges = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert picture.without_implied(edges) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert picture.depths(edges) == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_an_arrow_that_crosses_a_layer_has_a_lane_there_beside_the_boxes():
    edges = {"a": {"b", "d"}, "b": {"c"}, "c": {"e"}, "d": {"e"}, "e": set()}
    arrows = picture.chains(edges)
    assert ("d", "d>e@2", "e") in arrows
    places = picture.centres(edges, arrows)
    distance = abs(places["c"][0] - places["d>e@2"][0])
    assert places["c"][1] == places["d>e@2"][1]
    assert distance >= (picture.BOX_WIDTH + picture.LANE_WIDTH) / 2
