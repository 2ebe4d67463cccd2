"""Reader of Hugging Face datasets, by name or in a folder written by `save_to_disk`; runs no script."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from jaxtyping import Int64

from raybench.catalog.dataset_sources import HuggingFaceSource
from raybench.core.errors import DataError
from raybench.core.records import Split
from raybench.data.decoding import RgbImage, decode
from raybench.data.source import (
    ReadImage,
    SourceData,
    SourceSplit,
    choose_splits,
    encode_labels,
    require_columns,
)


def read_huggingface(source: HuggingFaceSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """Open the dataset at its revision; images stay encoded until they are read.

    Raises:
        DataError: it cannot be opened or downloaded, or lacks a split or column.
    """
    opened = _open(source, name)
    where = f"Hugging Face dataset {source.location!r}"
    chosen = choose_splits(splits, list(opened), where)
    tables = {ours: opened[theirs] for ours, theirs in chosen.items()}
    for table in tables.values():
        require_columns(table.column_names, source.image_column, source.label_column, where)
    class_names, targets = _classes(tables, source.label_column)
    return SourceData(
        class_names=class_names,
        splits={
            ours: SourceSplit(
                ids=[f"{i:07d}" for i in range(len(table))],
                targets=targets[ours],
                read=_reader(table, source.image_column, f"{source.location} {chosen[ours]}"),
                signature=f"huggingface/{source.location}/{source.image_column}/{table._fingerprint}",
            )
            for ours, table in tables.items()
        },
    )


def _open(source: HuggingFaceSource, name: str) -> dict[str, Any]:
    """Source split → its table."""
    folder = Path(source.location)
    is_saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    try:
        if is_saved:
            opened = datasets.load_from_disk(source.location)
        else:
            opened = datasets.load_dataset(source.location, revision=source.revision)
    except Exception as error:  # The hub's client raises some thirty classes without a common base.
        raise DataError(
            f"dataset {name!r}: Hugging Face's {source.location!r} cannot be opened or downloaded "
            f"({type(error).__name__}: {error}); check the name and the network, or save it to a folder."
        ) from error
    return dict(opened) if isinstance(opened, dict) else {"train": opened}


def _classes(
    tables: dict[Split, Any], column: str
) -> tuple[tuple[str, ...], dict[Split, Int64[np.ndarray, " n"]]]:
    """Class names, and per split the class ids."""
    values = {ours: table[column][:] for ours, table in tables.items()}
    feature = next(iter(tables.values())).features[column]
    if hasattr(feature, "names"):
        return tuple(feature.names), {ours: np.asarray(v, dtype=np.int64) for ours, v in values.items()}
    class_names, encoded = encode_labels([value for v in values.values() for value in v])
    ends = np.cumsum([len(v) for v in values.values()])[:-1]
    return class_names, dict(zip(values, np.split(encoded, ends), strict=True))


def _reader(table: Any, column: str, name: str) -> ReadImage:
    """Position → image, decoded by `decode` and not by the library, so that errors name the row."""
    feature = table.features[column]
    if not isinstance(feature, datasets.Image):
        raise DataError(f"column {column!r} of {name} holds {feature}, not images.")
    encoded = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    return partial(_read_row, encoded, column, name)


def _read_row(table: Any, column: str, name: str, position: int) -> RgbImage:
    value = table[position][column] or {}
    path = Path(value["path"]) if value.get("path") else None
    return decode(value.get("bytes") or path, f"{name}, row {position}")
