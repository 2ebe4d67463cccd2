"""Draw `architecture.svg`: the packages of raybench as layers, with the imports between them.

    python docs/picture.py      (or `make picture`)

An arrow leads from a package to one that it imports; imports that longer chains of arrows imply are left out.
A package is one layer below its lowest importer.
"""

import ast
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "raybench"
LAYER_HEIGHT, BOX_WIDTH, BOX_HEIGHT, LANE_WIDTH, GAP = 84, 128, 38, 14, 32
SWEEPS = 8
STYLE = """
  text { font: 15px ui-monospace, monospace; text-anchor: middle; dominant-baseline: central; fill: #1c2733 }
  rect { fill: #eef3f8; stroke: #5b7690; rx: 6 }
  .arrow { fill: none; stroke: #7d93a8; stroke-width: 1.4; marker-end: url(#head) }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } rect { fill: #22303c; stroke: #7d93a8 }
  }
"""
HEAD = (
    '<marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 Z" fill="#7d93a8"/></marker>'
)

Edges = Mapping[str, set[str]]
"""Package → packages that it imports."""
Chain = tuple[str, ...]
"""An arrow: a package, one lane for each layer that it crosses (`a>b@3`), a package."""


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Subpackage → subpackages that its files import, deferred imports included."""
    names = {folder.name for folder in package.iterdir() if (folder / "__init__.py").is_file()}
    edges: dict[str, set[str]] = {name: set() for name in sorted(names)}
    for name in edges:
        for file in (package / name).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                edges[name] |= _imported(node, package.name) & names - {name}
    return edges


def _imported(node: ast.AST, package: str) -> set[str]:
    """Subpackages of `package` in one import statement."""
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        modules = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return set()
    return {module.split(".")[1] for module in modules if module.startswith(f"{package}.")}


def without_implied(edges: Edges) -> dict[str, set[str]]:
    """The edges without those that a longer path implies.

    >>> without_implied({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    {'a': {'b'}, 'b': {'c'}, 'c': set()}
    """

    def reachable(name: str) -> set[str]:
        return edges[name].union(*map(reachable, edges[name]))

    return {name: targets - set().union(*map(reachable, targets)) for name, targets in edges.items()}


def depths(edges: Edges) -> dict[str, int]:
    """Package → its layer, from 0 at the top.

    >>> depths({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    {'a': 0, 'b': 1, 'c': 2}
    """

    def depth(name: str) -> int:
        return max((1 + depth(other) for other in edges if name in edges[other]), default=0)

    return {name: depth(name) for name in edges}


def chains(edges: Edges) -> list[Chain]:
    """Every edge with its lanes."""
    layer = depths(edges)
    return [
        (name, *(f"{name}>{target}@{row}" for row in range(layer[name] + 1, layer[target])), target)
        for name in sorted(edges)
        for target in sorted(edges[name])
    ]


def centres(edges: Edges, arrows: list[Chain]) -> dict[str, tuple[float, float]]:
    """Package or lane → centre, pixels. In a layer, each is placed near the mean of its neighbours."""
    layer = depths(edges)
    rows: list[list[str]] = [[] for _ in range(1 + max(layer.values()))]
    for name in sorted(edges):
        rows[layer[name]].append(name)
    neighbours: dict[str, list[str]] = {name: [] for name in edges}
    for arrow in arrows:
        for row, lane in enumerate(arrow[1:-1], start=layer[arrow[0]] + 1):
            rows[row].append(lane)
            neighbours[lane] = []
        for upper, lower in pairwise(arrow):
            neighbours[upper].append(lower)
            neighbours[lower].append(upper)
    x = dict.fromkeys(neighbours, 0.0)
    for _ in range(SWEEPS):
        for row in [*rows, *reversed(rows)]:
            means = {
                name: sum(x[n] for n in neighbours[name]) / max(1, len(neighbours[name])) for name in row
            }
            row.sort(key=lambda name: (means[name], name))
            x.update(_spread(row, means))
    left = min(x.values()) - BOX_WIDTH
    return {
        name: (x[name] - left, LAYER_HEIGHT * (depth + 0.5)) for depth, row in enumerate(rows) for name in row
    }


def _width(name: str) -> float:
    return LANE_WIDTH if ">" in name else BOX_WIDTH


def _spread(row: list[str], means: Mapping[str, float]) -> dict[str, float]:
    """Place a sorted layer without overlaps, as near as possible to the means of their neighbours."""
    x: dict[str, float] = {}
    previous = ""
    for name in row:
        least = x[previous] + (_width(previous) + _width(name)) / 2 + GAP if previous else means[name]
        x[name] = max(means[name], least)
        previous = name
    shift = sum(x[name] - means[name] for name in row) / len(row)
    return {name: place - shift for name, place in x.items()}


def svg(edges: Edges) -> str:
    """The picture; equal edges give equal text."""
    drawn = without_implied(edges)
    arrows = chains(drawn)
    places = centres(drawn, arrows)
    width = max(x for x, _ in places.values()) + BOX_WIDTH
    height = max(y for _, y in places.values()) + LAYER_HEIGHT / 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<style>{STYLE}</style>",
        f"<defs>{HEAD}</defs>",
        *(_arrow([places[name] for name in arrow]) for arrow in arrows),
        *(_box(name, *places[name]) for name in sorted(drawn)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _arrow(points: list[tuple[float, float]]) -> str:
    x, y = points[0]
    path = [f"M{x:.0f},{y + BOX_HEIGHT / 2:.0f}"]
    for position, (next_x, next_y) in enumerate(points[1:], start=2):
        top = y + BOX_HEIGHT / 2
        bottom = next_y - BOX_HEIGHT / 2 - (4 if position == len(points) else 0)
        middle = (top + bottom) / 2
        path.append(f"C{x:.0f},{middle:.0f} {next_x:.0f},{middle:.0f} {next_x:.0f},{bottom:.0f}")
        if position < len(points):
            path.append(f"L{next_x:.0f},{next_y + BOX_HEIGHT / 2:.0f}")
        x, y = next_x, next_y
    return f'<path class="arrow" d="{" ".join(path)}"/>'


def _box(name: str, x: float, y: float) -> str:
    corner = f'x="{x - BOX_WIDTH / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}"'
    box = f'<rect {corner} width="{BOX_WIDTH}" height="{BOX_HEIGHT}"/>'
    return f'{box}<text x="{x:.0f}" y="{y:.0f}">{name}</text>'


if __name__ == "__main__":
    (DOCS / "architecture.svg").write_text(svg(imports()), encoding="utf-8")
