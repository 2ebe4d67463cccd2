"""Catalogue rows that other installed packages add through Python entry points.

A package declares them in its `pyproject.toml`, under one of the groups `raybench.backbones`,
`raybench.datasets`, `raybench.protocols`, `raybench.evaluators` and `raybench.metrics`:

    [project.entry-points."raybench.datasets"]
    birds = "my_package.rows:BIRDS"

The object is a row, an iterable of rows, or a function without arguments that gives either. Its module is
imported when the catalogue is listed or a name is not one of raybench's own, on the driver and in every
worker, so it should import nothing heavy: rows name their implementation as `package.module:name`.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from raybench.core.errors import PluginError


class PluginRow(NamedTuple):
    """A row and the distribution that adds it."""

    row: Any
    origin: str
    """Name and version, e.g. `my-birds 0.1`."""


def load_plugins(group: str, row_type: type) -> tuple[list[PluginRow], list[PluginError]]:
    """Rows of all installed entry points of a group, and errors of those that failed to load."""
    rows: list[PluginRow] = []
    failures: list[PluginError] = []
    for point in sorted(entry_points(group=group), key=lambda p: (_origin(p), p.name)):
        try:
            rows.extend(PluginRow(row, _origin(point)) for row in _rows_of(point, row_type))
        except Exception as error:
            reason = (str(error).strip().splitlines() or ["no message"])[0]
            failures.append(
                PluginError(
                    f"the plug-in {_origin(point)} cannot be loaded: its entry point {point.value!r} of the "
                    f"group {group!r} fails ({type(error).__name__}: {reason}); repair or uninstall it."
                )
            )
    return rows, failures


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"


def _rows_of(point: EntryPoint, row_type: type) -> list[Any]:
    content = point.load()
    if callable(content) and not isinstance(content, row_type):
        content = content()
    rows = list(content) if isinstance(content, Iterable) else [content]
    for row in rows:
        if not isinstance(row, row_type):
            raise TypeError(f"expected rows of type {row_type.__name__}, got a {type(row).__name__}")
    return rows
