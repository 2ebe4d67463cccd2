"""What every reader returns: class names, and per split ids, targets and a way to read one image."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from raybench.catalog.folder_layout import spelt_splits
from raybench.core.errors import DataError
from raybench.core.records import Split
from raybench.data.decoding import RgbImage

UNDIVIDED = "all"
"""Name of the only split of a source without splits."""

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
    """A dataset as it was published: the splits that exist."""

    class_names: tuple[str, ...]
    """Unique."""
    splits: Mapping[Split, SourceSplit]
    names: Mapping[Split, str] = field(default_factory=dict)
    """Split → the source's name for it; a split without an entry has the same name there."""
    notes: tuple[str, ...] = ()
    """Sentences on what was left out or read by a rule that might surprise."""


Reader = Callable[[Any, Mapping[Split, str], str], SourceData]
"""(Source record, our split → the source's name for it, name of the dataset) → its data.

Without a mapping, splits are looked for by SPLIT_SPELLINGS. Raises DataError if the source cannot be opened
or lacks a split; the message has the name of the dataset.
"""
MAY_DOWNLOAD: ContextVar[bool] = ContextVar("may_download", default=True)
"""Whether readers may download; if not, they raise NotDownloadedError where they would have to."""


class NotDownloadedError(DataError):
    """The source is not on this machine, and MAY_DOWNLOAD is off."""


def encode_labels(
    values: Sequence[Hashable],
    names: Mapping[Any, str] | None = None,
    *,
    rows: Sequence[int] | Int64[np.ndarray, " n"] | None = None,
) -> tuple[tuple[str, ...], Int64[np.ndarray, " n"]]:
    """Class names in the order of the sorted values, and each value's index in it.

    Args:
        values: class names or whole numbers from 0. Numbers sort as numbers: 2 comes before 10.
        names: value → class name; others are named by the value itself.
        rows: number of each value's row, for messages; by default its position.

    Raises:
        DataError: a value is missing, hidden (−1), a list or a fraction, or numbers and texts are mixed.

    >>> encode_labels(["dog", "cat", "dog"])
    (('cat', 'dog'), array([1, 0, 1]))
    """
    for row, value in enumerate(values):
        if problem := _problem_of_label(value):
            raise DataError(f"row {row if rows is None else rows[row]} {problem}")
    distinct: list[Any] = list(set(values))
    if len({isinstance(value, str) for value in distinct}) > 1:
        texts, numbers = (next(v for v in distinct if isinstance(v, str) is kind) for kind in (True, False))
        raise DataError(f"labels are numbers ({numbers!r}) and texts ({texts!r}); write all in one way.")
    distinct.sort()
    index = {value: i for i, value in enumerate(distinct)}
    class_names = tuple(str((names or {}).get(value, value)) for value in distinct)
    return class_names, np.array([index[value] for value in values], dtype=np.int64)


def _problem_of_label(value: Any) -> str:
    """End of a sentence that begins with the row; empty for a class name or a whole number from 0."""
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:
        return f"has no label ({value!r}); remove it, or name another label column."
    if isinstance(value, list | dict | tuple | np.ndarray):
        return f"has several labels or none, {value!r:.60}, where one class is expected."
    if isinstance(value, float) and not value.is_integer():
        return f"has the label {value!r}, which is no class but a fraction."
    if (isinstance(value, Real) and value < 0) or (isinstance(value, str) and value.strip() == "-1"):
        return f"has the label {value!r}, which stands for a hidden one; {HIDDEN_REMEDY}"
    return ""


HIDDEN_REMEDY = "name a split with labels instead, e.g. `splits: {train: train, test: validation}`."


def require_labels(targets: Targets, num_classes: int, where: str) -> None:
    """Refuse class ids outside [0, c), and targets that are no class ids.

    Raises:
        DataError: counts them and names the first.
    """
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        raise DataError(
            f"{where}: one whole number per image is expected as its class, got targets of type "
            f"{targets.dtype} and shape {targets.shape}."
        )
    is_bad = (targets < 0) | (targets >= num_classes)
    if not is_bad.any():
        return
    first, num_bad = int(np.flatnonzero(is_bad)[0]), int(is_bad.sum())
    hint = (
        f"labels below 0 stand for hidden ones; {HIDDEN_REMEDY}" if (targets < 0).any() else "correct them."
    )
    raise DataError(
        f"{where}: {num_bad:,} of {len(targets):,} images have a label outside 0…{num_classes - 1}, first "
        f"{int(targets[first])} of image {first}; {hint}"
    )


def require_distinct(names: Iterable[str], where: str) -> None:
    """Refuse class names that look alike: they differ in Unicode's normal form or in outer spaces only.

    Raises:
        DataError: names both.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).strip(), name)
        if other != name:
            raise DataError(
                f"{where}: the class names {other!a} and {name!a} look alike (they differ in "
                "Unicode's normal form, NFC or NFD, or in spaces); give the class one spelling."
            )


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with the class id behind those that several classes share.

    >>> unique_names(["crane", "tench", "crane"])
    ('crane (0)', 'tench', 'crane (2)')
    """
    counts = Counter(names)
    return tuple(f"{name} ({i})" if counts[name] > 1 else name for i, name in enumerate(names))


def require_columns(columns: Sequence[str], image: str, label: str, where: str) -> None:
    """Refuse a table without its image or label column.

    Raises:
        DataError: if one is missing; the message lists the existing columns.
    """
    for role, column in (("image", image), ("label", label)):
        if column not in columns:
            raise DataError(
                f"{where} has no {role} column {column!r}, only {', '.join(columns)}; "
                f"say which one it is with `{role}_column: NAME`."
            )


def choose_splits(requested: Mapping[Split, str], available: Sequence[str], where: str) -> dict[Split, str]:
    """Our splits → the source's names for them; without a request, names in SPLIT_SPELLINGS are looked for.

    A source's only split is train, unless its name says otherwise.

    Raises:
        DataError: a requested split is not available, two names spell one split, or no name spells any.
    """
    listing = ", ".join(available) or "none"
    for ours, theirs in requested.items():
        if theirs not in available:
            raise DataError(f"{where} has no split {theirs!r} (requested as {ours}); it has: {listing}.")
    try:
        chosen = dict(requested) or spelt_splits(available)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if not chosen and len(available) == 1:
        chosen = {"train": available[0]}
    if not chosen:
        raise DataError(
            f"{where} has no train split; it has: {listing}. Say which it is with `splits: {{train: NAME}}`."
        )
    return chosen
