"""What every source hands over: named classes, and per split ids, labels and a way to read one image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from raybench.catalog.datasets import SPLIT_SPELLINGS
from raybench.core.errors import DataError
from raybench.core.records import Split
from raybench.data.decoding import RgbImage

UNDIVIDED = "all"
"""The name of the only split of a source that has none."""

ReadImage = Callable[[int], RgbImage]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSplit:
    """One split as the source has it: nothing is decoded until it is read."""

    ids: Sequence[str]
    """Unique within the split, the same on every machine (so never an absolute path)."""
    labels: Int64[np.ndarray, " n"]
    """Indices into the source's `class_names`."""
    read: ReadImage
    """Position → uint8 RGB image; raises UnreadableImageError naming it. Called from several threads."""
    signature: str
    """Changes when the content may have changed; key of the cached pixel hashes."""

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.labels):
            raise ValueError(f"{len(self.ids)} ids for {len(self.labels)} labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset as it was published: `train` always, `val` and `test` where they exist."""

    class_names: tuple[str, ...]
    splits: Mapping[Split, SourceSplit]


def encode_labels(names: Sequence[str]) -> tuple[tuple[str, ...], Int64[np.ndarray, " n"]]:
    """Class names in sorted order and each name's index among them.

    >>> encode_labels(["dog", "cat", "dog"])
    (('cat', 'dog'), array([1, 0, 1]))
    """
    classes, labels = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    return tuple(str(name) for name in classes), labels.astype(np.int64)


def chosen_splits(wanted: Mapping[Split, str], available: Sequence[str], where: str) -> dict[Split, str]:
    """Our splits → the source's names for them. Without a mapping, SPLIT_SPELLINGS are looked for.

    Raises:
        DataError: the mapping names a split the source does not have, or no train split is found.
    """
    listed = ", ".join(available) or "none"
    for ours, theirs in wanted.items():
        if theirs not in available:
            raise DataError(f"{where} has no split {theirs!r} (asked for as {ours}); it has: {listed}.")
    chosen = dict(wanted) or {
        ours: next(spelling for spelling in spellings if spelling in available)
        for ours, spellings in SPLIT_SPELLINGS.items()
        if any(spelling in available for spelling in spellings)
    }
    if not wanted and not chosen and len(available) == 1:
        chosen = {"train": available[0]}
    if "train" not in chosen:
        raise DataError(
            f"{where} has no train split; it has: {listed}. Say which it is with `splits: {{train: NAME}}`."
        )
    return chosen
