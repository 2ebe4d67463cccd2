"""Stratified splits, drawn by hashes of ids rather than by a random generator.

So a split does not depend on NumPy's version, on the order of files, or on what was drawn before.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from raybench.core.errors import DataError

Indices = Int64[np.ndarray, " k"]


def draw_order(ids: Sequence[str], purpose: str) -> list[str]:
    """Sort keys of ids: sorting by them shuffles, the same on every machine, differently for each purpose."""
    return [hashlib.sha256(f"{purpose}/{name}".encode()).hexdigest() for name in ids]


def _positions_by_class(
    ids: Sequence[str], targets: Int64[np.ndarray, " n"], purpose: str
) -> dict[int, list[int]]:
    keys = draw_order(ids, purpose)
    groups: dict[int, list[int]] = {}
    for position in sorted(range(len(ids)), key=keys.__getitem__):
        groups.setdefault(int(targets[position]), []).append(position)
    return groups


def carve(
    ids: Sequence[str],
    targets: Int64[np.ndarray, " n"],
    fraction: float,
    *,
    purpose: str,
    class_names: Sequence[str],
) -> tuple[Indices, Indices]:
    """Split off a share of every class.

    Args:
        targets: class ids; all equal for a split that is not stratified.
        fraction: share of a class that is carved off; at least one example is, and one is kept.
        purpose: name of the split that is made.
        class_names: for the error message.

    Returns:
        Positions kept and positions carved off, each ascending.

    Raises:
        DataError: a class has a single example, which cannot be in both.
    """
    carved: list[int] = []
    for label, positions in _positions_by_class(ids, targets, purpose).items():
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


def cap_per_class(ids: Sequence[str], targets: Int64[np.ndarray, " n"], limit: int) -> Indices:
    """Positions of at most `limit` examples of each class, ascending. A smaller limit keeps a subset."""
    groups = _positions_by_class(ids, targets, "few-shot")
    return np.array(sorted(p for positions in groups.values() for p in positions[:limit]), dtype=np.int64)
