"""Rows of text in columns: aligned for a terminal, or as a Markdown table."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest

Format = TypeVar("Format")
Rows = Sequence[Mapping[str, object]]
"""Column name → cell; every row has the same columns."""

NO_VALUE = "–"
_NUMBER = re.compile(r"[-+−]?[\d.,]+(e[-+]?\d+)?%?")


def number(value: float | None, pattern: str, *, is_percent: bool = False) -> str:
    """A number as a cell; NO_VALUE for None.

    >>> number(0.123, ".1f", is_percent=True), number(None, "d")
    ('12.3', '–')
    """
    if value is None:
        return NO_VALUE
    return format(100 * value if is_percent else value, pattern)


def choose_format(name: str, formats: Mapping[str, Format]) -> Format:
    """Look up a format by its name.

    Raises:
        UnknownNameError: if there is no such format, with a suggestion.
    """
    if name not in formats:
        hint = suggest(name, formats) or "."
        raise UnknownNameError(f"unknown format {name!r}{hint} There are {', '.join(formats)}.")
    return formats[name]


def aligned(rows: Rows) -> str:
    """Header and rows with columns two blanks apart, numbers to the right, the rest to the left.

    >>> print(aligned([{"name": "a", "size": 9}, {"name": "bc", "size": 10}]))
    name  size
    a        9
    bc      10
    """
    columns = _columns(rows)
    lines = []
    for line in zip(*(_padded(name, cells) for name, cells in columns), strict=True):
        lines.append("  ".join(line).rstrip())
    return "\n".join(lines)


def markdown(rows: Rows) -> str:
    """Header and rows as a Markdown table.

    >>> print(markdown([{"name": "a|b", "size": 9}]))
    | name | size |
    | :--- | ---: |
    | a\\|b |    9 |
    """
    columns = [(name, [cell.replace("|", "\\|") for cell in cells]) for name, cells in _columns(rows)]
    padded = []
    for name, cells in columns:
        header, *body = _padded(name, cells, at_least=4)
        rule = "-" * (len(header) - 1)
        padded.append([header, f"{rule}:" if _is_numeric(cells) else f":{rule}", *body])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))


def _columns(rows: Rows) -> list[tuple[str, list[str]]]:
    return [(name, [_text(row[name]) for row in rows]) for name in (rows[0] if rows else ())]


def _padded(name: str, cells: list[str], at_least: int = 0) -> list[str]:
    width = max(at_least, *(len(text) for text in (name, *cells)))
    if _is_numeric(cells):
        return [text.rjust(width) for text in (name, *cells)]
    return [text.ljust(width) for text in (name, *cells)]


def _is_numeric(cells: list[str]) -> bool:
    return all(cell == NO_VALUE or _NUMBER.fullmatch(cell) for cell in cells)


def _text(cell: object) -> str:
    if cell is None or cell == "":
        return NO_VALUE
    if isinstance(cell, Mapping):
        return " ".join(f"{key}={_text(value)}" for key, value in cell.items()) or NO_VALUE
    if isinstance(cell, list | tuple | set | frozenset):
        return ", ".join(_text(item) for item in cell) or NO_VALUE
    return " ".join(str(cell).split())
