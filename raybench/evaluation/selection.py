"""Which of many packed heads is best on val."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.core.errors import DivergedError
from raybench.core.records import HparamValue

Cell = Mapping[str, HparamValue]


@dataclass(slots=True)
class HeadScores:
    """Accuracy and NLL of m heads on val, gathered block by block: m·n·c logits never exist at once."""

    num_heads: int
    num_examples: int = 0
    num_correct: np.ndarray | None = None
    nll_sum: np.ndarray | None = None

    def add(self, logits: Float[torch.Tensor, "b c m"], targets: Int[torch.Tensor, " b"]) -> None:
        """Count one block. A head with a logit that is NaN or infinite gets an NLL that is not finite."""
        true_logit = logits[torch.arange(len(targets), device=logits.device), targets]
        correct = (logits.argmax(dim=1) == targets[:, None]).sum(dim=0)
        nll = (logits.logsumexp(dim=1) - true_logit).double().sum(dim=0)
        self.num_examples += len(targets)
        self.num_correct = correct.cpu().numpy() + (0 if self.num_correct is None else self.num_correct)
        self.nll_sum = nll.cpu().numpy() + (0.0 if self.nll_sum is None else self.nll_sum)

    @property
    def accuracy(self) -> Float[np.ndarray, " m"]:
        """Share of val that each head gets right; 0 for a head that diverged."""
        if self.num_correct is None:
            raise ValueError("no block has been scored yet.")
        return np.where(np.isfinite(self.nll), self.num_correct / self.num_examples, 0.0)

    @property
    def nll(self) -> Float[np.ndarray, " m"]:
        """Mean cross-entropy of each head, nats; NaN for a head that diverged."""
        if self.nll_sum is None:
            raise ValueError("no block has been scored yet.")
        return self.nll_sum / self.num_examples


def best_cell(accuracy: Sequence[float], nll: Sequence[float], cells: Sequence[Cell]) -> int:
    """Index of the most accurate head; ties by lower NLL, then by the smaller hyperparameters in their order.

    Raises:
        DivergedError: if no head has a finite NLL.

    >>> best_cell([0.9, 0.9, 0.8], [0.3, 0.2, 0.1], [{"lr": 0.1}, {"lr": 1.0}, {"lr": 2.0}])
    1
    """
    finite = [i for i in range(len(cells)) if math.isfinite(nll[i])]
    if not finite:
        raise DivergedError(
            f"all {len(cells)} heads diverged: every one has logits that are NaN or infinite on val; lower "
            "the learning rates, or use feature_norm 'standardize'."
        )
    return min(finite, key=lambda i: (-accuracy[i], nll[i], [_sortable(v) for v in cells[i].values()]))


def _sortable(value: HparamValue) -> tuple[bool, float, str]:
    """Numbers before words, each in its own order."""
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")
