"""Reader of Hugging Face datasets, by name or in a folder written by `save_to_disk`; runs no script."""

from collections.abc import Mapping, Sequence
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
    MAY_DOWNLOAD,
    NotDownloadedError,
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
    in_order: tuple[Split, ...] = ("train", "val", "test")  # Train's classes come first.
    tables = {ours: opened[chosen[ours]] for ours in in_order if ours in chosen}
    for table in tables.values():
        require_columns(table.column_names, source.image_column, source.label_column, where)
    try:
        class_names, targets = _classes(tables, source.label_column)
    except DataError as error:
        raise DataError(f"dataset {name!r}, {where}, column {source.label_column!r}: {error}") from error
    unused = [theirs for theirs in opened if theirs not in chosen.values()]
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
        names=chosen,
        notes=(f"split {', '.join(unused)} is not read.",) if unused else (),
    )


def _open(source: HuggingFaceSource, name: str) -> dict[str, Any]:
    """Source split → its table."""
    folder = Path(source.location)
    is_saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    if not folder.is_dir() and not MAY_DOWNLOAD.get():
        raise NotDownloadedError(f"dataset {name!r}: Hugging Face's {source.location!r} is not read yet.")
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
    tables: Mapping[Split, Any], column: str
) -> tuple[tuple[str, ...], dict[Split, Int64[np.ndarray, " n"]]]:
    """Class names, and per split the class ids.

    Classes are matched by name: splits may list the names of a ClassLabel in different orders, and one may
    hold the names themselves. Without names, numbers are classes.
    """
    listed = {ours: getattr(table.features[column], "names", None) for ours, table in tables.items()}
    values = {
        ours: _labels(table[column][:], listed[ours], f"split {ours}") for ours, table in tables.items()
    }
    ends = np.cumsum([len(v) for v in values.values()])[:-1]
    together = [value for v in values.values() for value in v]
    in_order = dict.fromkeys(name for names in listed.values() for name in names or ())
    if not in_order:
        class_names, encoded = encode_labels(together)
    elif unnamed := [value for value in together if not isinstance(value, str)]:
        raise DataError(
            f"labels are numbers ({unnamed[0]!r}) in one split and have names in another; give both the same "
            "feature, ClassLabel."
        )
    else:
        in_order |= dict.fromkeys(sorted(set(together)))
        index = {name: i for i, name in enumerate(in_order)}
        class_names, encoded = tuple(in_order), np.array([index[value] for value in together], dtype=np.int64)
    return class_names, dict(zip(values, np.split(encoded, ends), strict=True))


def _labels(values: Sequence[Any], names: Sequence[str] | None, where: str) -> list[Any]:
    """The labels of a split: names where its feature lists them, else the values.

    Raises:
        DataError: a label is missing, hidden (−1), or several labels.
    """
    try:
        encode_labels(values)
        return list(values) if names is None else [names[value] for value in values]
    except IndexError as error:
        raise DataError(f"{where} has a label beyond its {len(names or ())} class names.") from error
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


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
