"""Scores for out-of-distribution detection: higher means more like the training images."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import logsumexp, softmax

from raybench.evaluation.exact_search import nearest
from raybench.evaluation.feature_norm import resident

MAX_NEIGHBOURS = 50
"""Largest k of the kNN score."""
SHRINKAGE = 1e-3
"""Share of the mean variance that is added to the covariance's diagonal, so that it can be inverted."""
BLOCK_ROWS = 1024

Logits = Float[np.ndarray, "n c"]
Features = Float[np.ndarray, "n d"]
Scores = Float[np.ndarray, " n"]


def msp_score(logits: Logits) -> Scores:
    """Largest softmax probability (Hendrycks & Gimpel, ICLR 2017)."""
    return softmax(logits.astype(np.float64), axis=1).max(axis=1)


def energy_score(logits: Logits) -> Scores:
    """log Σ exp of the logits: the negative energy of Liu et al., NeurIPS 2020, at temperature 1."""
    return logsumexp(logits.astype(np.float64), axis=1)


def neighbours_within_class(targets: Int[np.ndarray, " m"]) -> int:
    """The k of `knn_score`: 1 % of the smallest class of the training images, at least 1 and at most 50.

    A k near the size of a class is the distance to another class, for known images too. On digits (six
    classes known, 60 images each, pixels as features) AUROC is .98 with k = 1, .84 with 30, .74 with 50.

    Source: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022: k = 50 on
    CIFAR-10, with 5,000 images per class.

    >>> [neighbours_within_class(np.repeat([0, 1], [size, 9000])) for size in (1, 99, 500, 5000, 9000)]
    [1, 1, 5, 50, 50]
    """
    smallest = int(np.unique(targets, return_counts=True)[1].min())
    return max(1, min(MAX_NEIGHBOURS, smallest // 100))


def knn_score(features: Features, train: Float[np.ndarray, "m d"], num_neighbours: int) -> Scores:
    """Minus the distance to the k-th nearest training feature, at unit length (Sun et al., ICML 2022)."""
    cpu = torch.device("cpu")
    neighbours = nearest(resident(features, cpu), resident(train, cpu), num_neighbours, NumpyCosine())
    cosine = neighbours.similarities[:, -1].numpy()
    return np.asarray(-np.sqrt(np.maximum(0.0, 2.0 - 2.0 * cosine)))


class NumpyCosine:
    """Cosine similarity in float32, computed by NumPy: PyTorch's products differ in the last bit."""

    def prepare(self, rows: Float[torch.Tensor, "n d"]) -> Float[torch.Tensor, "n d"]:
        """Rows of unit length; zero rows stay zero."""
        values = rows.numpy().astype(np.float32)
        return torch.from_numpy(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))

    def compare(
        self, queries: Float[torch.Tensor, "q d"], gallery: Float[torch.Tensor, "n d"]
    ) -> Float[torch.Tensor, "q n"]:
        """Cosine of every query and gallery row."""
        return torch.from_numpy(queries.numpy() @ gallery.numpy().T)


def mahalanobis_score(
    features: Features, train: Float[np.ndarray, "m d"], targets: Int[np.ndarray, " m"]
) -> Scores:
    """Minus the squared Mahalanobis distance to the nearest class mean, with one covariance for all classes.

    Args:
        features: what is scored.
        train: training features.
        targets: classes of the training features.

    Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018.
    """
    train = train.astype(np.float64)
    classes, position = np.unique(targets, return_inverse=True)
    means = np.stack([train[position == c].mean(axis=0) for c in range(len(classes))])
    centred = train - means[position]
    covariance = centred.T @ centred / len(train)
    mean_variance = np.trace(covariance) / len(covariance) or 1.0
    covariance += SHRINKAGE * mean_variance * np.eye(len(covariance))
    whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
    white_means = means @ whiten
    scores = []
    for start in range(0, len(features), BLOCK_ROWS):
        white = features[start : start + BLOCK_ROWS].astype(np.float64) @ whiten
        squared = (white**2).sum(axis=1)[:, None] + (white_means**2).sum(axis=1) - 2 * white @ white_means.T
        scores.append(-squared.min(axis=1))
    return np.concatenate(scores)
