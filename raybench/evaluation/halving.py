"""Successive halving inside a pack of heads: columns that fall behind on val are trained no further.

Packs of up to `SMALL_PACK` columns (heads × classes) are cheap and stay whole, so their numbers are those of
versions without halving. In a larger pack the cost is proportional to the columns; after the shares of all
steps in `RUNGS` only the best heads by the search's objective stay. A head that diverged is the first to go.

The best head of each learning rate comes before the second of any: heads that differ in weight decay alone
are nearly equal at first, and the best learning rate falls by a step or two of the grid while training goes
on, so that ranked by accuracy alone the later winner was dropped.

Source: Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016, with rungs at shares of a schedule of fixed length, because the learning rate follows a cosine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raybench.core.records import HparamValue
from raybench.evaluation.outcomes import EpochResult
from raybench.evaluation.packed_grid import Cell, HeadScores
from raybench.evaluation.packed_heads import SMALL_PACK

RUNGS = ((0.03, 3 / 8), (0.08, 3 / 16), (0.2, 3 / 32), (0.45, 3 / 64))
"""(Share of all steps, share of the heads kept after it): of 52 heads 20, 10, 5 and 3, which together cost as
much as 6.7 heads trained to the end. Replayed on the eleven recorded packs (100 and 1,000 classes, SGD and
AdamW) from which the schedule was chosen, dropping lost 0.03 points of best val accuracy on average and 0.23
at most.
"""
MIN_KEPT = 3
MIN_STEPS = 40
"""Steps of every head before the first rung: before that, small learning rates have hardly moved. After 20
steps AdamW on 1,000 digits lost 0.75 points."""
EPOCH = "epoch"
"""Key, in the rows of a grid, of the epochs that a head was trained for when its value was measured."""


@dataclass(frozen=True, slots=True)
class _Dropped:
    value: float
    epoch: float


class Halving:
    """Which heads of a pack are still trained, and the last values of the others."""

    def __init__(self, cells: Sequence[Cell], num_classes: int, num_steps: int) -> None:
        """`num_steps` is the number of optimiser steps of the whole schedule."""
        self._cells = tuple(cells)
        self._alive = list(range(len(cells)))
        self._dropped: dict[int, _Dropped] = {}
        is_large = len(cells) * num_classes > SMALL_PACK
        self._rungs = _rungs(num_steps, len(cells)) if is_large else {}

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Hyperparameters of the heads that are still trained, in the order of the whole grid."""
        return tuple(self._cells[i] for i in self._alive)

    def is_due(self, step: int) -> bool:
        """Whether heads are dropped after this step, counted from 1."""
        return len(self._alive) > self._rungs.get(step, len(self._alive))

    def keep_best(self, step: int, scores: HeadScores, epoch: float) -> list[int]:
        """Drop the heads beyond the rung's number.

        Args:
            step: for which `is_due`.
            scores: of the heads that are still trained.
            epoch: epochs completed, a fraction within an epoch.

        Returns:
            Positions among `cells`, ascending, of the heads that stay.

        Raises:
            DivergedError: if no head has a finite NLL.
        """
        order = _first_of_each(scores.ranked(self.cells), self.cells)
        kept = set(order[: self._rungs[step]])
        for position, (index, value) in enumerate(zip(self._alive, scores.values.tolist(), strict=True)):
            if position not in kept:
                self._dropped[index] = _Dropped(value, round(epoch, 4))
        self._alive = [index for position, index in enumerate(self._alive) if position in kept]
        return sorted(kept)

    def completed(self, result: EpochResult, objective: str) -> EpochResult:
        """The result with the last values of dropped heads in its grid; unchanged if the pack stays whole."""
        if not self._rungs or not result.grid:
            return result
        trained = dict(zip(self._alive, result.grid, strict=True))
        rows: list[Mapping[str, HparamValue]] = []
        for index, cell in enumerate(self._cells):
            if index in trained:
                rows.append({**trained[index], EPOCH: float(result.epoch)})
            else:
                dropped = self._dropped[index]
                rows.append({**cell, objective: dropped.value, EPOCH: dropped.epoch})
        return replace(result, grid=tuple(rows))


def _first_of_each(order: Sequence[int], cells: Sequence[Cell]) -> list[int]:
    """The order with the first head of each value of the first hyperparameter before all others.

    >>> _first_of_each([2, 0, 1], [{"lr": 1.0, "decay": 0}, {"lr": 2.0, "decay": 0}, {"lr": 1.0, "decay": 1}])
    [2, 1, 0]
    """
    first = list({next(iter(cells[i].values())): i for i in reversed(order)}.values())
    return [*(i for i in order if i in first), *(i for i in order if i not in first)]


def _rungs(num_steps: int, num_heads: int) -> dict[int, int]:
    """Step after which heads are dropped → how many stay; later rungs win where steps coincide."""
    return {
        max(MIN_STEPS, math.ceil(share * num_steps)): max(MIN_KEPT, math.ceil(kept * num_heads))
        for share, kept in RUNGS
    }
