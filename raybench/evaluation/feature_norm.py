"""Normalisation of frozen features, fitted on train only and applied batch by batch.

Features stay in the store's memory map; one batch is copied at a time, never the whole split.
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
    """Normalisation of a feature vector before the head."""

    kind: NormKind
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    """Factor after centring: 1 / standard deviation, or 1 where a feature is constant."""

    @classmethod
    def fit(cls, kind: NormKind, features: Features) -> Self:
        """Fit to `features` [n, d] (those of train), in float64 and two passes.

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
            # The deviation of a constant feature is rounding noise; dividing by it would amplify the noise.
            is_constant = deviation <= 1e-6 * np.maximum(1.0, np.abs(mean))
            scale = 1.0 / np.where(is_constant, 1.0, deviation)
        return cls(kind=kind, mean=mean.astype(np.float32), scale=scale.astype(np.float32))

    def apply(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise `features` [b, d] in place and return them."""
        if self.kind == "standardize":
            device = features.device
            features.sub_(torch.from_numpy(self.mean).to(device))
            features.mul_(torch.from_numpy(self.scale).to(device))
        elif self.kind == "l2":
            features.div_(features.norm(dim=1, keepdim=True).clamp_(min=1e-12))
        return features


def resident(features: Features, device: torch.device) -> torch.Tensor:
    """`features` [n, d] as a float32 tensor on `device`; a view on the CPU, a copy on a GPU.

    Do not write to it: on the CPU it is the store's file.
    """
    with warnings.catch_warnings():
        # torch warns once per process that writing to the read-only map would be undefined.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(features)).float().to(device)


def normalised_blocks(
    norm: FeatureNorm, features: Features, device: torch.device, *, rows: int = BLOCK_ROWS
) -> Iterator[Float[torch.Tensor, "b d"]]:
    """The normalised features on `device`, float32, `rows` at a time; each block may be written to."""
    for block in _blocks(features, rows):
        yield norm.apply(torch.from_numpy(np.array(block, dtype=np.float32)).to(device))


def with_ones(features: torch.Tensor) -> torch.Tensor:
    """[b, d] → [b, d + 1]: the last column is 1 and carries the bias."""
    return torch.nn.functional.pad(features, (0, 1), value=1.0)


def _blocks(features: Features, rows: int = BLOCK_ROWS) -> Iterator[Features]:
    for start in range(0, len(features), rows):
        yield features[start : start + rows]
