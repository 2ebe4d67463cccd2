"""A Parquet file of encoded images: one row per image, with a split column or without."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import DataError, UnreadableImageError
from raybench.core.records import Split
from raybench.data.decoding import RgbImage, decode
from raybench.data.source import UNDIVIDED, Source, SourceSplit, chosen_splits, encode_labels

SPLIT_COLUMN = "split"
CLASS_NAME_COLUMN = "class_name"
"""Names classes where labels are integers; optional."""


def read_source(info: DatasetInfo) -> Source:
    """Read labels and splits; image bytes are fetched row group by row group when they are needed.

    The image column holds encoded bytes, or Hugging Face's struct with a field `bytes`. The label column
    holds integers or class names.

    Raises:
        DataError: the file is missing, is not Parquet, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq  # Deferred: one of many sources.

    path = Path(info.location)
    where = f"dataset {info.name!r}: {info.location!r}"
    if not path.is_file():
        raise DataError(f"{where} is not a file; write the path as seen from the experiment file.")
    try:
        file = pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{where} cannot be read as Parquet ({error}).") from error
    columns = file.schema_arrow.names
    for role, column in (("image", info.image_column), ("label", info.label_column)):
        if column not in columns:
            raise DataError(
                f"{where} has no {role} column {column!r}, only {', '.join(columns)}; "
                f"say which one it is with `{role}_column: NAME`."
            )
    optional = [name for name in (SPLIT_COLUMN, CLASS_NAME_COLUMN) if name in columns]
    table = file.read(columns=[info.label_column, *optional])
    class_names, labels = _classes(table, info.label_column)
    row_splits = table.column(SPLIT_COLUMN).to_pylist() if SPLIT_COLUMN in optional else None
    chosen = chosen_splits(info.splits, sorted(set(row_splits)) if row_splits else [UNDIVIDED], where)
    images = _EncodedImages(file, info.image_column)
    stat = path.stat()
    signature = f"parquet/{path.resolve()}/{stat.st_size}/{stat.st_mtime_ns}/{info.image_column}"

    def split_of(name: str) -> SourceSplit:
        rows = np.flatnonzero([row == name for row in row_splits]) if row_splits else np.arange(len(labels))
        return SourceSplit(
            ids=[f"{row:07d}" for row in rows],
            labels=labels[rows],
            read=_RowReader(images, rows.tolist(), info.location),
            signature=f"{signature}/{name}",
        )

    splits: dict[Split, SourceSplit] = {ours: split_of(theirs) for ours, theirs in chosen.items()}
    return Source(class_names=class_names, splits=splits)


def _classes(table: Any, label_column: str) -> tuple[tuple[str, ...], np.ndarray]:
    values = table.column(label_column).to_pylist()
    if values and isinstance(values[0], str):
        return encode_labels(values)
    distinct = sorted(set(values))
    names = {value: str(value) for value in distinct}
    if CLASS_NAME_COLUMN in table.column_names:
        names.update(zip(values, table.column(CLASS_NAME_COLUMN).to_pylist(), strict=True))
    index = {value: i for i, value in enumerate(distinct)}
    return tuple(names[value] for value in distinct), np.array([index[v] for v in values], dtype=np.int64)


class _EncodedImages:
    """The image column, holding the two row groups used last; safe to share between threads."""

    def __init__(self, file: Any, column: str) -> None:
        self._file = file
        self._column = column
        sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._groups: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __getitem__(self, row: int) -> bytes | None:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with self._lock:
            if group not in self._groups:
                if len(self._groups) >= 2:
                    del self._groups[next(iter(self._groups))]
                column = self._file.read_row_group(group, columns=[self._column]).column(self._column)
                self._groups[group] = column
            value = self._groups[group][row - int(self._starts[group])].as_py()
        return value["bytes"] if isinstance(value, dict) else value


class _RowReader:
    """Position within a split → decoded image."""

    def __init__(self, images: _EncodedImages, rows: Sequence[int], location: str) -> None:
        self._images, self._rows, self._location = images, rows, location

    def __call__(self, position: int) -> RgbImage:
        row = self._rows[position]
        content = self._images[row]
        if not isinstance(content, bytes):
            raise UnreadableImageError(
                f"{self._location!r}, row {row}: expected image bytes, got {content!r}."
            )
        return decode(content, f"{self._location!r}, row {row}")
