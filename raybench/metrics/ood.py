"""Metrics and scores of out-of-distribution (OOD) detection.

In-distribution (ID) images are the positives: a higher score means more in-distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raybench.core.errors import EmptyInputError
from raybench.metrics.registry import declare
from raybench.metrics.resampling import NotResampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_NEIGHBOURS = 50
"""Sun et al. use 50 for CIFAR-10; a smaller bank is used whole."""
SHRINKAGE = 1e-3
"""Share of the mean variance added to the covariance's diagonal, which makes it invertible."""
BLOCK = 1024
NOT_STORED = NotResampled("scores of single images are not stored")

declare(
    "ood_auroc",
    direction="max",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Probability that an in-distribution image scores higher than an out-of-distribution one.",
)
declare(
    "mean_ood_auroc",
    direction="max",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Mean of `ood_auroc` over the out-of-distribution datasets.",
)
declare(
    "fpr95",
    direction="min",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Share of out-of-distribution images at or above the threshold that keeps 95 % of the others.",
)


def auroc(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """P(score of an ID image > score of an OOD image), ties counting half.

    >>> import numpy as np
    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
    0.875
    """
    from scipy.stats import rankdata

    _require("AUROC", inside, outside)
    ranks = rankdata([*inside, *outside])
    wins = ranks[: len(inside)].sum() - len(inside) * (len(inside) + 1) / 2
    return float(wins / (len(inside) * len(outside)))


def fpr95(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Share of OOD images at or above the highest threshold that keeps at least 95 % of the ID images.

    OpenOOD's convention: ID is positive, and the threshold is the first with a true-positive rate ≥ 0.95.
    Other codebases take the point nearest to 0.95, which differs by 0.08 on average with 50 images.

    >>> import numpy as np
    >>> fpr95(np.arange(100.0), np.array([0.0, 4.0, 5.0, 50.0]))
    0.5
    """
    import math

    import numpy as np

    _require("FPR95", inside, outside)
    kept = math.ceil(round(0.95 * len(inside), 9))
    threshold = np.sort(inside)[::-1][kept - 1]
    return float(np.mean(outside >= threshold))


def maximum_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Largest class probability, [n] (Hendrycks & Gimpel, ICLR 2017)."""
    from scipy.special import softmax

    return softmax(logits.astype("float64"), axis=1).max(axis=1)


def energy(logits: NDArray[Any]) -> NDArray[Any]:
    """log Σ exp of the logits, [n]: the negative energy of Liu et al., NeurIPS 2020, at temperature 1."""
    from scipy.special import logsumexp

    return logsumexp(logits.astype("float64"), axis=1)


def nearest_neighbour(
    features: NDArray[Any], bank: NDArray[Any], num_neighbours: int = NUM_NEIGHBOURS
) -> NDArray[Any]:
    """Negative distance to the k-th nearest training feature, L2-normalised, [n] (Sun et al., ICML 2022)."""
    import numpy as np

    k = min(num_neighbours, len(bank))
    known = _unit(bank)
    scores = []
    for start in range(0, len(features), BLOCK):
        similarity = _unit(features[start : start + BLOCK]) @ known.T
        kth = np.partition(similarity, len(known) - k, axis=1)[:, len(known) - k]
        scores.append(-np.sqrt(np.maximum(0.0, 2.0 - 2.0 * kth)))
    return np.concatenate(scores)


def mahalanobis(features: NDArray[Any], bank: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """Negative squared Mahalanobis distance to the nearest class mean, with one shared covariance, [n].

    Args:
        features: shape [n, d].
        bank: training features, shape [m, d].
        targets: their classes, shape [m].

    Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018.
    """
    import numpy as np

    known = bank.astype(np.float64)
    classes, position = np.unique(targets, return_inverse=True)
    means = np.stack([known[position == c].mean(axis=0) for c in range(len(classes))])
    centred = known - means[position]
    covariance = centred.T @ centred / len(known)
    diagonal = np.trace(covariance) / len(covariance) or 1.0
    covariance += SHRINKAGE * diagonal * np.eye(len(covariance))
    whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
    white_means = means @ whiten
    best = []
    for start in range(0, len(features), BLOCK):
        white = features[start : start + BLOCK].astype(np.float64) @ whiten
        squared = (white**2).sum(axis=1)[:, None] + (white_means**2).sum(axis=1) - 2 * white @ white_means.T
        best.append(-squared.min(axis=1))
    return np.concatenate(best)


def _unit(features: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    values = features.astype(np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def _require(name: str, inside: NDArray[Any], outside: NDArray[Any]) -> None:
    if not len(inside) or not len(outside):
        raise EmptyInputError(
            f"{name} needs images of both kinds, got {len(inside)} in and {len(outside)} out of distribution."
        )
