"""Frames → cells of an HTML table, and CSV."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from raybench.core.csv_cells import FORMULA, NUMBER
from raybench.report.render.columns import NO_VALUE

MAX_ROWS = 60
"""A longer table shows its first rows; its CSV holds all of them."""
MAX_PLAIN_BYTES = 500_000
"""A longer CSV is compressed: 500 backbones × 100 tasks make tables of 5 to 20 MB."""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and the column's cells as text."""

    heading: str
    cells: Sequence[str]
    is_numeric: bool


@dataclass(frozen=True, slots=True)
class TableView:
    """A frame as the page's template reads it."""

    columns: Sequence[Column]
    num_rows: int
    """Rows of the frame, also those not shown."""
    suffix: str
    """`.csv`, or `.csv.gz` for a long table."""
    media_type: str
    base64: str
    """Content of the download."""

    @property
    def is_cut(self) -> bool:
        """True if only the first rows are shown."""
        return self.num_rows > MAX_ROWS

    @property
    def rows(self) -> list[tuple[tuple[Column, str], ...]]:
        """Shown rows: (column, cell) from left to right."""
        return [
            tuple(zip(self.columns, cells, strict=True))
            for cells in zip(*(column.cells for column in self.columns), strict=True)
        ]


def table_view(frame: pl.DataFrame) -> TableView:
    """The first MAX_ROWS rows with formatted cells, and the whole frame as CSV."""
    shown, content = frame.head(MAX_ROWS), csv_text(frame).encode()
    is_plain = len(content) <= MAX_PLAIN_BYTES
    return TableView(
        columns=[
            Column(_heading(series.name), _cells(series), series.dtype.is_numeric()) for series in shown
        ],
        num_rows=frame.height,
        suffix=".csv" if is_plain else ".csv.gz",
        media_type="text/csv;charset=utf-8" if is_plain else "application/gzip",
        base64=base64.b64encode(content if is_plain else gzip.compress(content, mtime=0)).decode(),
    )


def csv_text(frame: pl.DataFrame) -> str:
    """`frame` as CSV; a list becomes its items, joined by `; `, and a formula is neutralised."""
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    return neutral_frame(frame.with_columns(pl.col(name).list.join("; ") for name in lists)).write_csv()


def neutral_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `neutral_cell` applied to all texts."""
    text = pl.col(pl.String)
    is_formula = text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
    return frame.with_columns(pl.when(is_formula).then(pl.lit("'") + text).otherwise(text).name.keep())


def _heading(name: str) -> str:
    """A column's name for people; task names stay as they are."""
    if "@" in name:
        return name
    return name.replace("_", " ").replace("zscore", "z-score").replace("params m", "parameters, M")


def _cells(series: pl.Series) -> list[str]:
    decimals = _decimals(series) if series.dtype.is_numeric() else 0
    return [_cell(value, decimals) for value in series]


def _cell(value: object, decimals: int) -> str:
    """
    >>> _cell(-1234.5, 1), _cell(True, 0), _cell(None, 0)
    ('−1,234.5', 'yes', '–')
    """
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:z,.{decimals}f}".replace("-", "−")  # z: no negative zero
    if isinstance(value, pl.Series):
        return ", ".join(map(str, value))
    return str(value)


def _decimals(series: pl.Series) -> int:
    """Decimals of a column of numbers: none where all are whole, fewer where they are large."""
    values = series.drop_nulls()
    largest = float(values.abs().max() or 0.0)  # type: ignore[arg-type]
    if series.dtype.is_integer() or (values == values.round()).all():
        return 0
    return 0 if largest >= 1000 else 1 if largest >= 100 else 3
