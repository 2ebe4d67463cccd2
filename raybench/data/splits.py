"""Carving splits: stratified, and decided by hashes of ids rather than by a random generator.

So a split never depends on NumPy's version, on the order of files, or on what else was drawn before.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from raybench.core.errors import DataError

Indices = Int64[np.ndarray, " k"]


def draw_order(ids: Sequence[str], purpose: str) -> list[str]:
    """Per id a key to sort by: a shuffle that is the same on every machine. `purpose` decorrelates draws."""
    return [hashlib.sha256(f"{purpose}/{name}".encode()).hexdigest() for name in ids]


def _positions_by_class(
    ids: Sequence[str], labels: Int64[np.ndarray, " n"], purpose: str
) -> dict[int, list[int]]:
    keys = draw_order(ids, purpose)
    groups: dict[int, list[int]] = {}
    for position in sorted(range(len(ids)), key=keys.__getitem__):
        groups.setdefault(int(labels[position]), []).append(position)
    return groups


def carve(
    ids: Sequence[str],
    labels: Int64[np.ndarray, " n"],
    fraction: float,
    *,
    purpose: str,
    class_names: Sequence[str],
) -> tuple[Indices, Indices]:
    """Positions to keep and positions carved off, each ascending; every class is split at `fraction`.

    At least one example of each class lands on either side.

    Raises:
        DataError: a class has a single example, which cannot be on both sides.
    """
    carved: list[int] = []
    for label, positions in _positions_by_class(ids, labels, purpose).items():
        if len(positions) < 2:
            raise DataError(
                f"class {class_names[label]!r} has a single example to train on, but the {purpose} split "
                "is carved from train and needs one too; add images, or name a source split for it "
                "under `splits`."
            )
        num_carved = min(max(round(len(positions) * fraction), 1), len(positions) - 1)
        carved += positions[:num_carved]
    is_carved = np.zeros(len(ids), dtype=bool)
    is_carved[carved] = True
    return np.flatnonzero(~is_carved), np.flatnonzero(is_carved)


def cap_per_class(ids: Sequence[str], labels: Int64[np.ndarray, " n"], limit: int) -> Indices:
    """Sorted positions of at most `limit` examples of each class; a smaller cap is a subset of a larger."""
    groups = _positions_by_class(ids, labels, "few-shot")
    return np.array(sorted(p for positions in groups.values() for p in positions[:limit]), dtype=np.int64)
