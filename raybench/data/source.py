"""What every reader returns: class names, and per split ids, targets and a way to read one image."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from raybench.catalog.dataset_info import spelt_splits
from raybench.core.errors import DataError
from raybench.core.records import Split
from raybench.data.decoding import RgbImage

UNDIVIDED = "all"
"""The name of the only split of a source that has none."""

ReadImage = Callable[[int], RgbImage]
Targets = Shaped[np.ndarray, "n ..."]
"""One target per example. Of `classes`: int64 [n], indices into the class names. Of `labels`: bool [n, c]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSplit:
    """One split as the source has it. Nothing is decoded until it is read."""

    ids: Sequence[str]
    """Unique within the split, the same on every machine (so never an absolute path)."""
    targets: Targets
    read: ReadImage
    """Position → uint8 RGB image; raises UnreadableImageError naming it. Called from several threads."""
    signature: str
    """Changes when the content may have changed; key of the cached pixel hashes."""

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.targets):
            raise ValueError(f"{len(self.ids)} ids for {len(self.targets)} targets")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceData:
    """A dataset as it was published: `train` always, `val` and `test` where they exist."""

    class_names: tuple[str, ...]
    splits: Mapping[Split, SourceSplit]


Reader = Callable[[Any, Mapping[Split, str], str], SourceData]
"""(Source record, our split → the source's name for it, name of the dataset) → its data.

Without a mapping, splits are looked for by SPLIT_SPELLINGS. Raises DataError if the source cannot be opened
or lacks a split; the message has the name of the dataset.
"""


def encode_labels(
    values: Sequence[Hashable], names: Mapping[Any, str] | None = None
) -> tuple[tuple[str, ...], Int64[np.ndarray, " n"]]:
    """Class names in the order of the sorted values, and each value's index in it.

    Args:
        values: class names or numbers. Numbers sort as numbers: 2 comes before 10.
        names: value → class name; others are named by the value itself.

    Raises:
        DataError: a value is missing.

    >>> encode_labels(["dog", "cat", "dog"])
    (('cat', 'dog'), array([1, 0, 1]))
    """
    if None in values:
        raise DataError(f"row {values.index(None)} has no label; remove it, or name another label column.")
    distinct: list[Any] = sorted(set(values))
    index = {value: i for i, value in enumerate(distinct)}
    class_names = tuple(str((names or {}).get(value, value)) for value in distinct)
    return class_names, np.array([index[value] for value in values], dtype=np.int64)


def require_columns(columns: Sequence[str], image: str, label: str, where: str) -> None:
    """Refuse a table without its image or label column.

    Raises:
        DataError: names the column and those that there are.
    """
    for role, column in (("image", image), ("label", label)):
        if column not in columns:
            raise DataError(
                f"{where} has no {role} column {column!r}, only {', '.join(columns)}; "
                f"say which one it is with `{role}_column: NAME`."
            )


def choose_splits(requested: Mapping[Split, str], available: Sequence[str], where: str) -> dict[Split, str]:
    """Our splits → the source's names for them; without a request, names in SPLIT_SPELLINGS are looked for.

    Raises:
        DataError: a requested split is not available, or there is no train split.
    """
    listing = ", ".join(available) or "none"
    for ours, theirs in requested.items():
        if theirs not in available:
            raise DataError(f"{where} has no split {theirs!r} (requested as {ours}); it has: {listing}.")
    chosen = dict(requested) or spelt_splits(available)
    if not chosen and len(available) == 1:
        chosen = {"train": available[0]}
    if "train" not in chosen:
        raise DataError(
            f"{where} has no train split; it has: {listing}. Say which it is with `splits: {{train: NAME}}`."
        )
    return chosen
