"""Normalisation of embeddings before a search, fitted on train only."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from jaxtyping import Float

from raybench.core.errors import DataError, EmptyInputError

Normalisation = Literal["none", "l2", "pca_whiten"]
RELATIVE_FLOOR = 1e-6
"""Directions whose variance is below this share of the largest are noise; they are dropped."""
BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Whitening:
    """PCA whitening: centre, rotate onto the principal axes, divide by their standard deviations.

    Source: Jégou & Chum, "Negative evidences and co-occurrences in image retrieval", ECCV 2012.
    """

    mean: Float[torch.Tensor, " d"]
    projection: Float[torch.Tensor, "d r"]
    """r ≤ d, by increasing variance: directions without variance on train are dropped."""

    @classmethod
    def fit(cls, features: Float[torch.Tensor, "n d"]) -> Self:
        """Fit to the features of train, in float64, block by block.

        Raises:
            EmptyInputError: if there are fewer than two rows, or all are equal.
        """
        if len(features) < 2:
            raise EmptyInputError(f"whitening needs at least two training images, got {len(features)}.")
        d, device = features.shape[1], features.device
        blocks = range(0, len(features), BLOCK_ROWS)
        mean = torch.zeros(d, dtype=torch.float64, device=device)
        for start in blocks:
            mean += features[start : start + BLOCK_ROWS].double().sum(dim=0) / len(features)
        covariance = torch.zeros(d, d, dtype=torch.float64, device=device)
        for start in blocks:
            centred = features[start : start + BLOCK_ROWS].double() - mean
            covariance += centred.T @ centred / (len(features) - 1)
        variances, axes = torch.linalg.eigh(covariance)
        if variances[-1] <= 0:
            raise EmptyInputError("whitening met training features that are all equal; it has no direction.")
        kept = variances > RELATIVE_FLOOR * variances[-1]
        projection = axes[:, kept] / variances[kept].sqrt()
        return cls(mean=mean, projection=projection)

    @property
    def num_directions(self) -> int:
        """r."""
        return self.projection.shape[1]

    def leading(self, num_directions: int) -> Self:
        """Only the directions of largest variance.

        Raises:
            DataError: if the training images span fewer.
        """
        if num_directions > self.num_directions:
            raise DataError(
                f"whitening cannot keep {num_directions} directions: the training images span "
                f"{self.num_directions}; lower `whitening_directions`, or write 'all'."
            )
        return replace(self, projection=self.projection[:, self.num_directions - num_directions :])

    def apply(self, features: Float[torch.Tensor, "m d"]) -> Float[torch.Tensor, "m r"]:
        """Whiten rows; float32. `normalised` calls this block by block."""
        return ((features.double() - self.mean) @ self.projection).float()


def unit_rows(features: Float[torch.Tensor, "m d"]) -> Float[torch.Tensor, "m d"]:
    """Scale rows to length 1; zero rows stay zero."""
    return features / features.norm(dim=1, keepdim=True).clamp_(min=1e-12)


def normalised(
    kind: Normalisation,
    train: Float[torch.Tensor, "n d"],
    *parts: Float[torch.Tensor, "m d"],
    whitening: Whitening | None = None,
) -> tuple[Float[torch.Tensor, "m r"], ...]:
    """Normalise every part the same way; `pca_whiten` ends with unit length, as is usual.

    Works block by block, so it takes one copy of each part (`none`: not even that). `whitening` is fitted to
    `train` unless it is given.

    Raises:
        ValueError: if `kind` is not one of none, l2, pca_whiten.
    """
    if kind == "none":
        return tuple(part.float() for part in parts)
    if kind == "l2":
        return tuple(_by_blocks(part, lambda block: unit_rows(block.float())) for part in parts)
    if kind == "pca_whiten":
        fitted = whitening or Whitening.fit(train)
        return tuple(_by_blocks(part, lambda block: unit_rows(fitted.apply(block))) for part in parts)
    raise ValueError(f"unknown normalisation {kind!r}; use 'none', 'l2' or 'pca_whiten'.")


def _by_blocks(
    part: Float[torch.Tensor, "m d"], normalise: Callable[[torch.Tensor], torch.Tensor]
) -> Float[torch.Tensor, "m r"]:
    width = normalise(part[:1]).shape[1]
    result = torch.empty(len(part), width, dtype=torch.float32, device=part.device)
    for start in range(0, len(part), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        result[rows] = normalise(part[rows])
    return result
