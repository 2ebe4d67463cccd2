"""Hugging Face datasets by name, or a folder written by `save_to_disk`. No dataset script is ever run."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import DataError, UnreadableImageError
from raybench.core.records import Split
from raybench.data.decoding import RgbImage, decode
from raybench.data.source import Source, SourceSplit, chosen_splits, encode_labels


def read_source(info: DatasetInfo) -> Source:
    """Open `info.location` (`org/name`, or a folder) at `info.revision`; images stay encoded until read.

    Raises:
        DataError: it cannot be opened or downloaded, or lacks a split or column.
    """
    opened = _open(info)
    where = f"Hugging Face dataset {info.location!r}"
    chosen = chosen_splits(info.splits, list(opened), where)
    tables = {ours: opened[theirs] for ours, theirs in chosen.items()}
    for role, column in (("image", info.image_column), ("label", info.label_column)):
        for table in tables.values():
            if column not in table.column_names:
                raise DataError(
                    f"{where} has no {role} column {column!r}, only {', '.join(table.column_names)}; "
                    f"say which one it is with `{role}_column: NAME`."
                )
    class_names, labels = _classes(tables, info.label_column)
    splits: dict[Split, SourceSplit] = {
        ours: SourceSplit(
            ids=[f"{i:07d}" for i in range(len(table))],
            labels=labels[ours],
            read=_RowReader(table, info.image_column, f"{info.location} {chosen[ours]}"),
            signature=f"huggingface/{info.location}/{info.image_column}/{table._fingerprint}",
        )
        for ours, table in tables.items()
    }
    return Source(class_names=class_names, splits=splits)


def _open(info: DatasetInfo) -> dict[str, Any]:
    """Source split → its table."""
    import datasets  # Deferred: several seconds of import.

    folder = Path(info.location)
    is_saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    try:
        if is_saved:
            opened = datasets.load_from_disk(info.location)
        else:
            opened = datasets.load_dataset(info.location, revision=info.revision)
    except Exception as error:  # The hub's client raises some thirty classes without a common base.
        raise DataError(
            f"dataset {info.name!r}: Hugging Face's {info.location!r} cannot be opened or downloaded "
            f"({type(error).__name__}: {error}); check the name and the network, or save it to a folder."
        ) from error
    return dict(opened) if isinstance(opened, dict) else {"train": opened}


def _classes(
    tables: dict[Split, Any], column: str
) -> tuple[tuple[str, ...], dict[Split, Int64[np.ndarray, " n"]]]:
    values = {ours: table[column][:] for ours, table in tables.items()}
    feature = next(iter(tables.values())).features[column]
    if hasattr(feature, "names"):
        labels = {ours: np.asarray(v, dtype=np.int64) for ours, v in values.items()}
        return tuple(feature.names), labels
    everything = [value for v in values.values() for value in v]
    if everything and not isinstance(everything[0], str):
        distinct = sorted(set(everything))  # As numbers: as words, 10 would come before 2.
        index = {value: i for i, value in enumerate(distinct)}
        return tuple(map(str, distinct)), {
            ours: np.array([index[value] for value in v], dtype=np.int64) for ours, v in values.items()
        }
    class_names, encoded = encode_labels(everything)
    ends = np.cumsum([len(v) for v in values.values()])[:-1]
    return class_names, dict(zip(values, np.split(encoded, ends), strict=True))


class _RowReader:
    """Position → decoded image; decoding is ours, so that a broken image is named like any other."""

    def __init__(self, table: Any, column: str, name: str) -> None:
        import datasets

        feature = table.features[column]
        if not isinstance(feature, datasets.Image):
            raise DataError(f"column {column!r} of {name} holds {feature}, not images.")
        self._table = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        self._column, self._name = column, name

    def __call__(self, position: int) -> RgbImage:
        value = self._table[position][self._column] or {}
        name = f"{self._name}, row {position}"
        if value.get("bytes"):
            return decode(value["bytes"], name)
        if value.get("path"):
            return decode(Path(value["path"]), name)
        raise UnreadableImageError(f"{name} holds no image; set `unreadable: skip` to leave such rows out.")
