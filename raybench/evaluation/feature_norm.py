"""Normalisation of frozen features, fitted on train only and applied batch by batch.

Features stay in the store's shared memory map: what is copied is one batch, never the whole split.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from jaxtyping import Float

from raybench.core.errors import EmptyInputError

NormKind = Literal["none", "standardize", "l2"]
Features = Float[np.ndarray, "n d"]

BLOCK_ROWS = 8192
"""Rows read at a time when statistics are computed or a whole split is scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureNorm:
    """How a feature vector is changed before a head sees it."""

    kind: NormKind
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    """Multiplied after the mean is taken off: 1 / standard deviation, or 1 where a feature is constant."""

    @classmethod
    def fit(cls, kind: NormKind, features: Features) -> Self:
        """Statistics of `features` (those of train), shape [n, d], accumulated in float64 in two passes.

        Raises:
            EmptyInputError: if there are no features.
            ValueError: if `kind` is not one of none, standardize, l2.
        """
        if kind not in ("none", "standardize", "l2"):
            raise ValueError(f"unknown feature_norm {kind!r}; use 'none', 'standardize' or 'l2'.")
        if features.size == 0:
            raise EmptyInputError(f"cannot fit a head to features of shape {list(features.shape)}.")
        num_features = features.shape[1]
        mean, scale = np.zeros(num_features), np.ones(num_features)
        if kind == "standardize":
            mean = sum(block.sum(axis=0, dtype=np.float64) for block in _blocks(features)) / len(features)
            squares = sum(np.square(block - mean).sum(axis=0) for block in _blocks(features))
            deviation = np.sqrt(squares / len(features))
            # A constant feature's deviation is rounding noise; dividing by it would invent a signal.
            is_constant = deviation <= 1e-6 * np.maximum(1.0, np.abs(mean))
            scale = 1.0 / np.where(is_constant, 1.0, deviation)
        return cls(kind=kind, mean=mean.astype(np.float32), scale=scale.astype(np.float32))

    def apply(self, features: torch.Tensor) -> torch.Tensor:
        """Change `features` [b, d] in place and return them."""
        if self.kind == "standardize":
            device = features.device
            features.sub_(torch.from_numpy(self.mean).to(device))
            features.mul_(torch.from_numpy(self.scale).to(device))
        elif self.kind == "l2":
            features.div_(features.norm(dim=1, keepdim=True).clamp_(min=1e-12))
        return features


def resident(features: Features, device: torch.device) -> torch.Tensor:
    """`features` [n, d] as a float32 tensor on `device`: without a copy on the CPU, with one on a GPU.

    Never write into it: on the CPU it is the store's file.
    """
    with warnings.catch_warnings():
        # The map is read-only on purpose; torch says once per process that writing would be undefined.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(features)).float().to(device)


def with_ones(features: torch.Tensor) -> torch.Tensor:
    """[b, d] → [b, d + 1]: the last column is 1 and carries the bias."""
    return torch.nn.functional.pad(features, (0, 1), value=1.0)


def _blocks(features: Features) -> Iterator[Features]:
    for start in range(0, len(features), BLOCK_ROWS):
        yield features[start : start + BLOCK_ROWS]
