"""Ridge regression on class indicators for many penalties, all from one eigendecomposition.

The objective per class is scikit-learn's `RidgeClassifier(alpha=n · penalty)`: mean squared distance of
w·x + b to +1 (the class) or −1 (another one), plus penalty · ‖w‖², without a penalty on b. With centred
features X the solution is (X'X + n·penalty)⁻¹ X'Y; the eigenvectors of X'X [d, d] (of X X' [n, n] where
n < d: Hastie & Tibshirani, "Efficient quadratic regularization for expression arrays", Biostatistics 2004,
section 2) serve every penalty. X'X and X'Y are sums over blocks, so n is limited by the disk alone.

Scores near ±1 are no logits: with a thousand classes their softmax is almost uniform. So a temperature is
fitted to val for each penalty, on at most `TEMPERATURE_SCORES` scores, and divides its weights. It changes no
prediction. The NLL on val is therefore fitted by this one number; that on test is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.core.errors import DivergedError
from raybench.evaluation.feature_norm import FeatureNorm, Features, normalised_blocks
from raybench.evaluation.temperature import LOG_RANGE

TEMPERATURE_SCORES = 2**19
"""Scores, of evenly spaced val examples, to which a temperature is fitted: 524 examples of 1,000 classes."""
MAX_STEPS = 20
TOLERANCE = 1e-4
"""Relative change of the temperature at which Newton's method ends; usually after five to eight steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RidgeFit:
    """One point of the path."""

    penalty: float
    """scikit-learn's alpha, divided by n."""
    weights: Float[torch.Tensor, "d1 c"]
    """For *normalised* features that end in a one, divided by the temperature; the last row is the bias."""
    temperature: float


@dataclass(frozen=True, slots=True)
class _Moments:
    """What a solution for any penalty needs, float64: eigenvectors, eigenvalues, means."""

    values: Float[torch.Tensor, " r"]
    """Eigenvalues of X'X, ascending; r = min(n, d)."""
    left: Float[torch.Tensor, "d r"]
    right: Float[torch.Tensor, "r c"]
    """The solution for a penalty is left @ (right / (values + n·penalty))."""
    feature_mean: Float[torch.Tensor, " d"]
    target_mean: Float[torch.Tensor, " c"]


def ridge_path(
    features: Features,
    targets: Int[np.ndarray, " n"],
    penalties: Sequence[float],
    *,
    norm: FeatureNorm,
    num_classes: int,
    val: tuple[Features, Int[np.ndarray, " v"]],
    device: torch.device,
) -> list[RidgeFit]:
    """Solve for every penalty, in the given order; each result is independent of the other penalties.

    Args:
        features: those of train, before normalisation; a memory map is read block by block.
        targets: class ids in [0, c).
        penalties: above 0.
        norm: fitted to train.
        num_classes: c.
        val: features and targets to which the temperatures are fitted.
        device: where the sums and the eigendecomposition are computed, in float64.

    Raises:
        DivergedError: if a feature is NaN or infinite.
    """
    labels = torch.tensor(targets, dtype=torch.int64, device=device)
    wide = len(features) < features.shape[1]
    moments = (_dual if wide else _primal)(features, labels, norm, num_classes)
    every = -(-len(val[0]) * num_classes // TEMPERATURE_SCORES)
    blocks = normalised_blocks(norm, np.ascontiguousarray(val[0][::every]), device)
    rows = torch.cat(list(blocks))
    row_labels = torch.tensor(val[1][::every], dtype=torch.int64, device=device)
    path = []
    for penalty in penalties:
        solution = moments.left @ (moments.right / (moments.values + len(features) * penalty)[:, None])
        bias = moments.target_mean - moments.feature_mean @ solution
        weights = torch.cat([solution, bias[None]])
        scores = rows @ weights[:-1].float() + weights[-1].float()
        temperature = _fitted_temperature(scores, row_labels)
        weights = (weights / temperature).float()
        path.append(RidgeFit(penalty=penalty, weights=weights, temperature=temperature))
    return path


def _primal(features: Features, labels: torch.Tensor, norm: FeatureNorm, num_classes: int) -> _Moments:
    """From X'X and X'Y, summed over blocks."""
    num_examples, num_features = features.shape
    device = labels.device
    gram = torch.zeros(num_features, num_features, dtype=torch.float64, device=device)
    sums = torch.zeros(num_features, num_classes, dtype=torch.float64, device=device)
    total = torch.zeros(num_features, dtype=torch.float64, device=device)
    shift, start = None, 0
    for block in normalised_blocks(norm, features, device):
        rows = block.double()
        # Centred at the first block's mean, so that subtracting the mean's square below cancels nothing.
        shift = rows.mean(dim=0) if shift is None else shift
        rows -= shift
        gram.addmm_(rows.T, rows)
        total += rows.sum(dim=0)
        # X' onehot is a sum of rows per class.
        sums.T.index_add_(0, labels[start : start + len(rows)], rows)
        start += len(rows)
    if shift is None:
        raise ValueError("a ridge regression needs at least one example.")
    shares = torch.bincount(labels, minlength=num_classes).double() / num_examples
    offset = total / num_examples
    gram.addr_(offset, total, alpha=-1)
    # Centred ±1 targets are 2 · (onehot − share).
    products = (sums - total[:, None] * shares).mul_(2)
    values, vectors = _eigen(gram)
    return _Moments(values, vectors, vectors.T @ products, offset + shift, 2 * shares - 1)


def _dual(features: Features, labels: torch.Tensor, norm: FeatureNorm, num_classes: int) -> _Moments:
    """From X X', with fewer examples than features: X'(X X' + α)⁻¹Y is the same solution."""
    rows = torch.cat(list(normalised_blocks(norm, features, labels.device))).double()
    mean = rows.mean(dim=0)
    rows -= mean
    shares = torch.bincount(labels, minlength=num_classes).double() / len(labels)
    targets = torch.nn.functional.one_hot(labels, num_classes).double().sub_(shares).mul_(2)
    values, vectors = _eigen(rows @ rows.T)
    return _Moments(values, rows.T @ vectors, vectors.T @ targets, mean, 2 * shares - 1)


def _eigen(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues, at least 0, and eigenvectors of a Gram matrix."""
    if not bool(matrix.isfinite().all()):
        raise DivergedError("ridge regression met features that are NaN or infinite; check the features.")
    values, vectors = torch.linalg.eigh(matrix)
    return values.clamp_(min=0.0), vectors


def _fitted_temperature(scores: Float[torch.Tensor, "v c"], labels: Int[torch.Tensor, " v"]) -> float:
    """The temperature of least NLL in the range of `temperature.fit_temperature`.

    Newton's method in β = 1 / temperature, in which the NLL is convex: its derivative is the mean of
    E[s] − s_true, its second derivative the mean variance of s, both under softmax(β·s). A step that leaves
    the bracket is replaced by the bracket's geometric mean.
    """
    low, high = float(np.exp(-LOG_RANGE[1])), float(np.exp(-LOG_RANGE[0]))
    true_scores = scores.gather(1, labels[:, None])[:, 0]
    beta = 1.0
    for _ in range(MAX_STEPS):
        weighted = torch.softmax(scores * beta, dim=1).mul_(scores)
        expected = weighted.sum(dim=1)
        slope = float((expected - true_scores).double().mean())
        curvature = float((weighted.mul_(scores).sum(dim=1) - expected.square()).double().mean())
        low, high = (beta, high) if slope < 0 else (low, beta)
        step = beta - slope / curvature if curvature > 0 else low
        before, beta = beta, step if low < step < high else (low * high) ** 0.5
        if abs(beta - before) < TOLERANCE * before:
            break
    return 1.0 / beta
