"""Reader of a Parquet file of encoded images: one row per image, with a split column or without."""

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
    class_names, targets = _classes(table, source.label_column)
    row_splits = table.column(SPLIT_COLUMN).to_pylist() if SPLIT_COLUMN in optional else None
    chosen = choose_splits(splits, sorted(set(row_splits)) if row_splits else [UNDIVIDED], where)
    images = _EncodedImages(file, source.image_column)
    stat = path.stat()
    signature = f"parquet/{path.resolve()}/{stat.st_size}/{stat.st_mtime_ns}/{source.image_column}"

    def split_of(theirs: str) -> SourceSplit:
        is_member = [row == theirs for row in row_splits] if row_splits else np.ones(len(targets), dtype=bool)
        rows = np.flatnonzero(is_member)
        return SourceSplit(
            ids=[f"{row:07d}" for row in rows],
            targets=targets[rows],
            read=partial(_read_row, images, rows.tolist(), source.location),
            signature=f"{signature}/{theirs}",
        )

    return SourceData(
        class_names=class_names, splits={ours: split_of(theirs) for ours, theirs in chosen.items()}
    )


def _classes(table: Any, label_column: str) -> tuple[tuple[str, ...], np.ndarray]:
    labels = table.column(label_column).to_pylist()
    if CLASS_NAME_COLUMN not in table.column_names or isinstance(next(iter(labels), None), str):
        return encode_labels(labels)
    return encode_labels(labels, dict(zip(labels, table.column(CLASS_NAME_COLUMN).to_pylist(), strict=True)))


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
