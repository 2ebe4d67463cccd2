"""Reader of a Parquet file of encoded images: one row per image, with a split column or without."""

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from raybench.catalog.dataset_sources import ParquetSource
from raybench.core.errors import DataError
from raybench.core.records import Split
from raybench.data.decoding import RgbImage, decode
from raybench.data.source import (
    UNDIVIDED,
    SourceData,
    SourceSplit,
    choose_splits,
    encode_labels,
    require_columns,
)

SPLIT_COLUMN = "split"
CLASS_NAME_COLUMN = "class_name"
"""Names classes where labels are integers; optional."""


def read_parquet(source: ParquetSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """Read labels and splits; image bytes are fetched row group by row group when they are needed.

    The image column holds encoded bytes, or Hugging Face's struct with a field `bytes`. The label column
    holds integers or class names.

    Raises:
        DataError: the file is missing, is not Parquet, or lacks a column.
    """
    path = Path(source.location)
    where = f"dataset {name!r}: {source.location!r}"
    if not path.is_file():
        raise DataError(f"{where} is not a file; write the path as seen from the experiment file.")
    try:
        file = pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{where} cannot be read as Parquet ({error}).") from error
    columns = file.schema_arrow.names
    require_columns(columns, source.image_column, source.label_column, where)
    optional = [column for column in (SPLIT_COLUMN, CLASS_NAME_COLUMN) if column in columns]
    table = file.read(columns=[source.label_column, *optional])
    row_splits = _row_splits(table, where)
    chosen = choose_splits(splits, sorted(set(row_splits)) if row_splits else [UNDIVIDED], where)
    members = np.array(row_splits or [UNDIVIDED] * table.num_rows)
    used = np.flatnonzero(np.isin(members, list(chosen.values())))
    try:
        class_names, used_targets = _classes(table.take(used), source.label_column, used)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    targets = np.full(table.num_rows, -1, dtype=np.int64)
    targets[used] = used_targets
    images = _EncodedImages(file, source.image_column)
    stat = path.stat()
    signature = f"parquet/{path.resolve()}/{stat.st_size}/{stat.st_mtime_ns}/{source.image_column}"

    def split_of(theirs: str) -> SourceSplit:
        rows = np.flatnonzero(members == theirs)
        return SourceSplit(
            ids=[f"{row:07d}" for row in rows],
            targets=targets[rows],
            read=partial(_read_row, images, rows.tolist(), source.location),
            signature=f"{signature}/{theirs}",
        )

    unused = sorted(set(row_splits or ()) - set(chosen.values()))
    return SourceData(
        class_names=class_names,
        splits={ours: split_of(theirs) for ours, theirs in chosen.items()},
        names=chosen,
        notes=(f"split {', '.join(unused)} is not read.",) if unused else (),
    )


def _row_splits(table: Any, where: str) -> list[str] | None:
    """The source's name of every row's split; None if the file has no split column."""
    if SPLIT_COLUMN not in table.column_names:
        return None
    values = table.column(SPLIT_COLUMN).to_pylist()
    if None in values:
        raise DataError(
            f"{where}: row {values.index(None)} has no split; fill column {SPLIT_COLUMN!r} in every row, or "
            "leave the column out."
        )
    return [str(value) for value in values]


def _classes(
    table: Any, label_column: str, rows: Int64[np.ndarray, " n"]
) -> tuple[tuple[str, ...], Int64[np.ndarray, " n"]]:
    """Class names and class ids of a table's rows, which have the numbers `rows` in the file."""
    labels = table.column(label_column).to_pylist()
    plain = encode_labels(labels, rows=rows)
    if CLASS_NAME_COLUMN not in table.column_names or isinstance(next(iter(labels), None), str):
        return plain
    names: dict[Any, str] = {}
    for row, label, name in zip(rows, labels, table.column(CLASS_NAME_COLUMN).to_pylist(), strict=True):
        if name is not None and names.setdefault(label, name) != name:
            raise DataError(
                f"label {label!r} is named {names[label]!r} and, in row {row}, {name!r}; give it one name."
            )
    return encode_labels(labels, names)


class _EncodedImages:
    """The image column; keeps the two row groups used last. Safe to share between threads."""

    def __init__(self, file: Any, column: str) -> None:
        sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._read_group = lru_cache(2)(lambda g: file.read_row_group(g, columns=[column]).column(column))
        self._lock = threading.Lock()

    def __getitem__(self, row: int) -> bytes | None:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with self._lock:
            value = self._read_group(group)[row - int(self._starts[group])].as_py()
        return value["bytes"] if isinstance(value, dict) else value


def _read_row(images: _EncodedImages, rows: Sequence[int], location: str, position: int) -> RgbImage:
    row = rows[position]
    return decode(images[row], f"{location!r}, row {row}")
