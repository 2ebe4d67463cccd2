"""A measurement table as CSV, which `rank`, `report` and `recommend` read and MLflow shows.

One measurement per line, columns separated by commas; the first line names them. Needed are `backbone`,
`task` (`protocol@dataset`), `metric` (a registered one) and `value` (fractions, not percent, with a point for
decimals). The other columns of the measurement table may be left out: `experiment` (the file's name), `split`
(`test`), `condition` (`clean`), `seed` (0), `num_examples`, `trial_id`, `provenance`. So may columns about
the backbone, which must be the same in all its lines: `family`, `method` (`none`: no pretraining), `params_m`
(millions of parameters), `pretrain_images`, `images_per_second`, `latency_ms`, `peak_memory_mib`, `flops_g`.
Any other column is refused, because a misspelt one would silently be ignored. Empty lines at the end are
skipped, and the `'` that exports put before `=`, `+`, `-` and `@` (formulas of spreadsheets) is removed.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from raybench.catalog.tasks import parse_task
from raybench.core.csv_cells import ESCAPED
from raybench.core.errors import DataError, EmptyInputError, StorageError, UnknownNameError
from raybench.core.names import MAX_NAME, name_problem, printable
from raybench.core.registry import suggest
from raybench.metrics import METRICS
from raybench.store.measurements import SCHEMA, validated

SUFFIX = ".csv"
REQUIRED = ("backbone", "task", "metric", "value")
BACKBONE_COLUMNS: Mapping[str, type[pl.DataType]] = {
    "family": pl.String,
    "method": pl.String,
    "params_m": pl.Float64,
    "pretrain_images": pl.Int64,
    "images_per_second": pl.Float64,
    "latency_ms": pl.Float64,
    "peak_memory_mib": pl.Float64,
    "flops_g": pl.Float64,
}
"""Optional columns about a backbone → their types."""
MAX_PROVENANCE = 20_000
"""Characters of a provenance, which is JSON."""


def read_table(file: Path) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    """The measurement table of a CSV file, and a spec of its backbones and tasks.

    Raises:
        StorageError: if the file cannot be read.
        DataError: if a column is missing or unknown, or a cell is invalid; the message names the line.
        EmptyInputError: if there is no line below the first.
        UnknownNameError: if a metric is not registered.
        NonFiniteMeasurementError, OutOfBoundsError, DuplicateMeasurementError: as for any measurement table.
    """
    if problem := name_problem(file.stem):
        raise DataError(f"the name of table {str(file)!a:.80} {problem}; rename the file.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StorageError(f"cannot read table {str(file)!r}: {reason or error}.") from error
    frame = _cells(text, str(file))
    measurements = _typed(frame, str(file), experiment=file.stem)
    for metric in measurements["metric"].unique(maintain_order=True):
        METRICS[metric]  # Raises with a suggestion.
    backbones = _backbones(frame, str(file))
    tasks = measurements["task"].unique().sort().to_list()
    return validated(measurements), {"name": file.stem, "backbones": backbones, "tasks": tasks}


def parse_tables(texts: Sequence[str], name: str) -> pl.DataFrame:
    """Parse several CSV texts as one measurement table; errors refer to them by `name`.

    Raises:
        As `read_table`.
    """
    frames = [_typed(_cells(text, name), name, experiment="") for text in texts]
    return validated(pl.concat([pl.DataFrame(schema=SCHEMA), *frames]))


def _cells(text: str, name: str) -> pl.DataFrame:
    """All cells as text, stripped; an empty one is null."""
    try:
        frame = pl.read_csv(io.StringIO(text.rstrip()), infer_schema=False)
    except pl.exceptions.NoDataError:
        raise EmptyInputError(f"table {name!r} is empty; its first line must name the columns.") from None
    except pl.exceptions.PolarsError as error:
        reason = printable(str(error).partition("\n")[0].rstrip("."))
        problem = _uneven_line(text) or f" is no CSV: {reason}"
        raise DataError(f"table {name!r}{problem}; quote cells that hold a comma.") from error
    _require_columns([column.strip() for column in frame.columns], name)
    frame = frame.rename({column: column.strip() for column in frame.columns})
    if frame.is_empty():
        raise EmptyInputError(f"table {name!r} holds no measurement below its first line.")
    for column in frame.columns:
        _require_plain(frame[column], column, name)
    cells = pl.all().str.strip_chars().str.replace(ESCAPED, "$1")
    return frame.with_columns(cells).with_columns(pl.all().replace("", None))


def _require_plain(cells: pl.Series, column: str, name: str) -> None:
    """Refuse control characters, and texts too long for a name."""
    limit = MAX_PROVENANCE if column == "provenance" else MAX_NAME
    for text in cells.drop_nulls().unique(maintain_order=True):
        if problem := name_problem(text.strip(), max_length=limit):
            raise DataError(f"table {name!r}, line {_line(cells == text)}: `{column}` {problem}.")


def _uneven_line(text: str) -> str:
    """Part of an error message that names the first line with too many cells; empty if there is none."""
    rows = csv.reader(io.StringIO(text))
    num_columns = len(next(rows, []))
    for row in rows:
        if len(row) > num_columns:
            return f", line {rows.line_num}: {len(row)} cells, but the first line names {num_columns} columns"
    return ""


def _require_columns(columns: Sequence[str], name: str) -> None:
    allowed = [*SCHEMA.names(), *BACKBONE_COLUMNS]
    for column in columns:
        if column not in allowed:
            hint = suggest(column, allowed) or ";"
            raise DataError(
                f"table {name!r} has an unknown column {column!r}{hint} known are {', '.join(allowed)}, "
                "separated by commas, one measurement per line."
            )
    if repeated := [column for column, count in Counter(columns).items() if count > 1]:
        raise DataError(f"table {name!r} names the column {repeated[0]!r} twice; keep one.")
    absent = [column for column in REQUIRED if column not in columns]
    if absent:
        raise DataError(
            f"table {name!r} lacks the column{'s' if len(absent) > 1 else ''} "
            f"{', '.join(map(repr, absent))}; it has {', '.join(columns)}."
        )


def _typed(frame: pl.DataFrame, name: str, *, experiment: str) -> pl.DataFrame:
    defaults = {
        "experiment": experiment,
        "split": "test",
        "condition": "clean",
        "seed": "0",
        "trial_id": "",
        "provenance": "{}",
    }
    columns = {}
    for column, dtype in SCHEMA.items():
        absent = pl.Series([None] * frame.height, dtype=pl.String)
        cells = frame[column] if column in frame.columns else absent
        if column in REQUIRED and cells.has_nulls():
            raise DataError(f"table {name!r}, line {_line(cells.is_null())}: `{column}` is empty.")
        if column in defaults:
            cells = cells.fill_null(defaults[column])
        columns[column] = _cast(cells, column, dtype, name)
    typed = pl.DataFrame(columns)
    _require_all(typed["num_examples"] >= 1, typed["num_examples"], "at least 1", name)
    _require_provenance(typed["provenance"], name)
    for text in typed["task"].unique(maintain_order=True):
        try:
            parse_task(text)
        except UnknownNameError as error:
            line = _line(typed["task"] == text)
            raise UnknownNameError(f"table {name!r}, line {line}: {error}") from None
    if (wrong := ~typed["split"].is_in(["val", "test"])).any():
        split = typed["split"].filter(wrong)[0]
        raise DataError(f"table {name!r}, line {_line(wrong)}: `split` must be val or test, got {split!r}.")
    return typed


def _cast(cells: pl.Series, column: str, dtype: Any, name: str) -> pl.Series:
    if dtype == pl.String:
        return cells
    cast = cells.cast(dtype, strict=False)
    if (wrong := cast.is_null() & cells.is_not_null()).any():
        kind = "a whole number" if dtype.is_integer() else "a number"
        cell = cells.filter(wrong)[0]
        raise DataError(f"table {name!r}, line {_line(wrong)}: `{column}` must be {kind}, got {cell!r}.")
    return cast


def _require_all(is_right: pl.Series, cells: pl.Series, expected: str, name: str) -> None:
    """Refuse the first cell that is not as expected; nulls are."""
    if (wrong := ~is_right.fill_null(True)).any():
        raise DataError(
            f"table {name!r}, line {_line(wrong)}: `{cells.name}` must be {expected}, "
            f"got {cells.filter(wrong)[0]!r}."
        )


def _require_provenance(cells: pl.Series, name: str) -> None:
    """Refuse provenance that is no JSON as raybench writes it."""
    for text in cells.unique(maintain_order=True):
        if problem := _problem_of_provenance(text):
            raise DataError(
                f"table {name!r}, line {_line(cells == text)}: `provenance` {problem}, got {text!r:.60}; "
                "leave it empty if it is not known."
            )


def _problem_of_provenance(text: str) -> str:
    try:
        origin = json.loads(text)
    except (ValueError, RecursionError):
        return "must be JSON"
    if not isinstance(origin, dict):
        return "must be a mapping"
    mappings = [origin.get("preprocessing"), origin.get("versions")]
    if not all(isinstance(value, dict | None) for value in mappings):
        return "must have mappings under `preprocessing` and `versions`"
    numbers = [origin.get("num_params"), (mappings[0] or {}).get("input_size")]
    if not all(value is None or (type(value) is int and 0 < value < 2**53) for value in numbers):
        return "must have whole numbers above 0 under `num_params` and `preprocessing.input_size`"
    return ""


def _line(where: pl.Series) -> int:
    """Line number in the file of the first true row; the names are in line 1."""
    return int(where.arg_true()[0]) + 2


def _backbones(frame: pl.DataFrame, name: str) -> list[dict[str, Any]]:
    """One spec row per backbone, with the columns about it that the table has."""
    columns = [column for column in BACKBONE_COLUMNS if column in frame.columns]
    typed = frame.select("backbone").with_columns(
        _cast(frame[column], column, BACKBONE_COLUMNS[column](), name).alias(column) for column in columns
    )
    for column in columns:
        if BACKBONE_COLUMNS[column] == pl.Int64:
            _require_all(typed[column] >= 0, typed[column], "at least 0", name)
        elif BACKBONE_COLUMNS[column] == pl.Float64:
            is_right = (typed[column] > 0) & typed[column].is_finite()
            _require_all(is_right, typed[column], "a number above 0", name)
    rows = []
    for (backbone,), group in typed.group_by("backbone", maintain_order=True):
        row: dict[str, Any] = {"name": backbone}
        for column in columns:
            values = group[column].drop_nulls().unique(maintain_order=True).to_list()
            if len(values) > 1:
                raise DataError(
                    f"table {name!r} gives {backbone!r} several {column}: {values[0]!r} and {values[1]!r}."
                )
            row |= {column: values[0]} if values else {}
        rows.append(row)
    return rows
