"""The packed grid of a trial: many heads scored on val in one pass, and the best one chosen."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.catalog.search_spaces import Grid
from raybench.catalog.space_edges import packed_edges
from raybench.core.errors import DivergedError
from raybench.core.records import Hparams, HparamValue
from raybench.evaluation.outcomes import EpochResult
from raybench.metrics import METRICS
from raybench.metrics.classification import TOP_K, class_places

Cell = Mapping[str, HparamValue]
"""Packed hyperparameter → its value in one cell of the grid."""


@dataclass(slots=True)
class HeadScores:
    """Objective and NLL of m heads on val, summed block by block: m·n·c logits never exist at once."""

    num_heads: int
    objective: str = "accuracy"
    """One of `catalog.tasks.CLASSIFICATION_METRICS`."""
    num_examples: int = 0
    num_correct: np.ndarray | None = None
    """Correct examples per class and head, [c, m]; for `top5_accuracy` those among the five best."""
    num_true: np.ndarray | None = None
    """Examples per class, [c]."""
    nll_sum: np.ndarray | None = None

    def add(self, logits: Float[torch.Tensor, "b c m"], targets: Int[torch.Tensor, " b"]) -> None:
        """Count one block. A head with a logit that is NaN or infinite gets an NLL that is not finite."""
        num_classes = logits.shape[1]
        true_logit = logits[torch.arange(len(targets), device=logits.device), targets]
        if self.objective == "top5_accuracy":
            is_correct = class_places(logits, targets) < TOP_K
        else:
            is_correct = logits.argmax(dim=1) == targets[:, None]
        correct = torch.zeros(num_classes, logits.shape[2], dtype=torch.int64, device=logits.device)
        correct.index_add_(0, targets, is_correct.long())
        nll = (logits.logsumexp(dim=1) - true_logit).double().sum(dim=0)
        num_true = torch.bincount(targets, minlength=num_classes)
        self.num_examples += len(targets)
        self.num_correct = correct.cpu().numpy() + (0 if self.num_correct is None else self.num_correct)
        self.num_true = num_true.cpu().numpy() + (0 if self.num_true is None else self.num_true)
        self.nll_sum = nll.cpu().numpy() + (0.0 if self.nll_sum is None else self.nll_sum)

    @property
    def values(self) -> Float[np.ndarray, " m"]:
        """The objective of each head; 0 (nll: infinite) for a head that diverged."""
        if self.num_correct is None or self.num_true is None:
            raise ValueError("no block has been scored yet.")
        if self.objective == "nll":
            return np.where(np.isfinite(self.nll), self.nll, np.inf)
        if self.objective == "mean_class_accuracy":
            is_present = self.num_true > 0
            recalls = self.num_correct[is_present] / self.num_true[is_present, None]
            values = recalls.mean(axis=0)
        else:
            values = self.num_correct.sum(axis=0) / self.num_examples
        return np.where(np.isfinite(self.nll), values, 0.0)

    def best(self, cells: Sequence[Cell]) -> int:
        """Index of the best head; see `ranked_cells`.

        Raises:
            DivergedError: if no head has a finite NLL.
        """
        return self.ranked(cells)[0]

    def ranked(self, cells: Sequence[Cell]) -> list[int]:
        """Indices of the heads that did not diverge, best first; see `ranked_cells`.

        Raises:
            DivergedError: if no head has a finite NLL.
        """
        sign = 1.0 if METRICS[self.objective].direction == "max" else -1.0
        return ranked_cells((sign * self.values).tolist(), self.nll.tolist(), cells)

    @property
    def nll(self) -> Float[np.ndarray, " m"]:
        """Mean cross-entropy of each head, nats; NaN for a head that diverged."""
        if self.nll_sum is None:
            raise ValueError("no block has been scored yet.")
        return self.nll_sum / self.num_examples


class PackedGrid:
    """The cells that one trial trains at once: the whole grid, or the one cell that `hparams` name."""

    def __init__(self, grid: Grid, hparams: Hparams) -> None:
        self._grid = grid
        self._hparams = hparams
        self.is_searched = any(name not in hparams for name in grid)
        """Whether the trial chooses among cells; False if `hparams` name the cell."""

    def cells(self, *, limits: Mapping[str, int] | None = None) -> tuple[Cell, ...]:
        """All cells; values of the grid above a hyperparameter's limit are left out.

        >>> PackedGrid({"k": (1, 5), "weighting": (0.1, 0.2)}, {"weighting": 0.2}).cells(limits={"k": 3})
        ({'k': 1, 'weighting': 0.2},)
        """
        options: list[Sequence[HparamValue]] = []
        for name, values in self._grid.items():
            if name in self._hparams:
                values = (self._hparams[name],)
            elif limits and name in limits:
                values = tuple(v for v in values if isinstance(v, str) or float(v) <= limits[name])
            options.append(values)
        return tuple(dict(zip(self._grid, values, strict=True)) for values in itertools.product(*options))

    def result(
        self,
        epoch: int,
        cells: Sequence[Cell],
        best: int,
        scores: HeadScores,
        metrics: Mapping[str, float],
    ) -> EpochResult:
        """An epoch's result: `metrics` of the cell `best`; every cell's objective if there is a choice."""
        chosen = {**cells[best], "epoch": epoch}
        if not self.is_searched:
            return EpochResult(epoch=epoch, metrics=metrics, chosen=chosen)
        return EpochResult(
            epoch=epoch,
            metrics=metrics,
            chosen=chosen,
            grid=tuple(
                {**cell, scores.objective: value}
                for cell, value in zip(cells, scores.values.tolist(), strict=True)
            ),
            edges=packed_edges(self._grid, chosen),
        )


def best_cell(scores: Sequence[float], nll: Sequence[float], cells: Sequence[Cell]) -> int:
    """The first of `ranked_cells`.

    >>> best_cell([0.9, 0.9, 0.8], [0.3, 0.2, 0.1], [{"lr": 0.1}, {"lr": 1.0}, {"lr": 2.0}])
    1
    """
    return ranked_cells(scores, nll, cells)[0]


def ranked_cells(scores: Sequence[float], nll: Sequence[float], cells: Sequence[Cell]) -> list[int]:
    """Indices of the heads with a finite NLL, best first.

    Ordered by score; ties by lower NLL, then by smaller hyperparameters in order.

    Args:
        scores: the objective of each head, negated where lower is better.
        nll: NLL of each head.
        cells: hyperparameters of each head.

    Raises:
        DivergedError: if no head has a finite NLL.

    >>> ranked_cells([0.9, 0.9, 0.8], [0.3, 0.2, 0.1], [{"lr": 0.1}, {"lr": 1.0}, {"lr": 2.0}])
    [1, 0, 2]
    """
    finite = [i for i in range(len(cells)) if math.isfinite(nll[i])]
    if not finite:
        raise DivergedError(
            f"all {len(cells)} heads diverged: every one has logits that are NaN or infinite on val; lower "
            "the learning rates, or use feature_norm 'standardize'."
        )
    return sorted(finite, key=lambda i: (-scores[i], nll[i], [_sortable(v) for v in cells[i].values()]))


def _sortable(value: HparamValue) -> tuple[bool, float, str]:
    """Numbers before strings, each in its own order."""
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")
