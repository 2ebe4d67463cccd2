"""Logistic regression by L-BFGS over a path of regularisation strengths; each fit starts from the one before.

The objective is scikit-learn's `LogisticRegression(C=inverse_l2)`: the mean cross-entropy plus
‖W‖² / (2·C·n), without a penalty on the bias. The path starts with the strongest regularisation, whose
solution is near the start at zero; every further fit needs few iterations. It ends when eight strengths in a
row improve neither accuracy nor NLL on val. (By accuracy alone it would end at its flat beginning, where
weights are tiny.)

The normalisation is folded into the weights, so that products read the store's memory map directly; a
normalised copy of the split would take its size in memory per trial. Features that exceed a GPU's share are
streamed once per evaluation of the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize

from raybench.core.errors import DivergedError
from raybench.evaluation.device_features import DeviceFeatures
from raybench.evaluation.feature_norm import FeatureNorm

PATIENCE = 8
"""Strengths without a better val accuracy or NLL after which the path ends."""
GRADIENT_TOLERANCE = 1e-4
"""Largest component of the gradient at which a fit ends; scikit-learn's default `tol`."""
LOSS_TOLERANCE = 1e-8
"""Relative decrease of the loss at which a fit ends: float32 products carry no more."""
MAX_ITERATIONS = 1000
BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticFit:
    """One point of the path."""

    inverse_l2: float
    """scikit-learn's C."""
    weights: Float[torch.Tensor, "d1 c"]
    """For *normalised* features that end in a one; the last row is the bias."""
    num_iterations: int


class LogisticObjective:
    """Loss and gradient of multinomial logistic regression; the features [n, d] are not copied."""

    def __init__(
        self,
        features: DeviceFeatures,
        targets: Int[np.ndarray, " n"],
        norm: FeatureNorm,
        num_classes: int,
    ) -> None:
        self._features = features
        self._targets = torch.tensor(targets, dtype=torch.int64, device=features.device)
        self._norm = FoldedNorm(norm, features)
        self.shape = (features.shape[1] + 1, num_classes)

    def __call__(self, flat: np.ndarray, l2: float) -> tuple[float, np.ndarray]:
        """Mean cross-entropy + l2/2·‖W‖², and its gradient, both float64 for the flat weights [(d + 1)·c]."""
        device = self._features.device
        weights = torch.from_numpy(flat.reshape(self.shape)).to(device, torch.float32)
        folded, bias = self._norm.fold(weights)
        gradient = torch.zeros(self.shape, dtype=torch.float32, device=device)
        loss = 0.0
        for part, rows in self._features.blocks(BLOCK_ROWS):
            loss += self._add_block(rows, part, folded, bias, gradient)
        total = self._norm.unfold(gradient).div_(len(self._features)).cpu().numpy().astype(np.float64)
        penalised = flat.reshape(self.shape).copy()
        penalised[-1] = 0.0
        value = loss / len(self._features) + 0.5 * l2 * float(np.square(penalised).sum())
        return value, (total + l2 * penalised).ravel()

    def _add_block(
        self,
        features: torch.Tensor,
        part: slice,
        folded: torch.Tensor,
        bias: torch.Tensor,
        gradient: torch.Tensor,
    ) -> float:
        targets = self._targets[part]
        logits = self._norm.scale_rows(features @ folded, part).add_(bias)
        true_logit = logits.gather(1, targets[:, None])
        log_sum = logits.logsumexp(dim=1, keepdim=True)
        loss = float((log_sum - true_logit).double().sum())
        error = logits.sub_(log_sum).exp_()
        error[torch.arange(len(targets), device=error.device), targets] -= 1.0
        gradient[-1].add_(error.sum(dim=0))
        gradient[:-1].addmm_(features.T, self._norm.scale_rows(error, part))
        return loss


class FoldedNorm:
    """A `FeatureNorm` moved from the features to the weights: norm(x) @ W + b = row(x)·(x @ W′) + b′."""

    def __init__(self, norm: FeatureNorm, features: DeviceFeatures) -> None:
        device = features.device
        self._mean = torch.from_numpy(norm.mean).to(device)[:, None]
        self._scale = torch.from_numpy(norm.scale).to(device)[:, None]
        self._row: torch.Tensor | None = None
        if norm.kind == "l2":
            norms = [rows.norm(dim=1, keepdim=True) for _, rows in features.blocks(len(features))]
            self._row = 1.0 / torch.cat(norms).clamp_(min=1e-12)

    def fold(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fold the normalisation into weights: W [d + 1, c] → (W′ [d, c], b′ [1, c])."""
        folded = weights[:-1] * self._scale
        return folded, weights[-1:] - self._mean.T @ folded

    def unfold(self, gradient: torch.Tensor) -> torch.Tensor:
        """Gradient by W′ and b′, [d + 1, c] → gradient by W and b, in place."""
        gradient[:-1].addmm_(self._mean, gradient[-1:], alpha=-1).mul_(self._scale)
        return gradient

    def scale_rows(self, values: torch.Tensor, part: slice) -> torch.Tensor:
        return values if self._row is None else values.mul_(self._row[part])


def logistic_path(
    features: DeviceFeatures,
    targets: Int[np.ndarray, " n"],
    strengths: Sequence[float],
    *,
    norm: FeatureNorm,
    num_classes: int,
    patience: int | None = PATIENCE,
    val: tuple[DeviceFeatures, Int[np.ndarray, " v"]],
) -> list[LogisticFit]:
    """Fit each C of `strengths`, smallest first, until val is no better for `patience` of them (None: all).

    Raises:
        DivergedError: if a loss is NaN or infinite (features are).
    """
    objective = LogisticObjective(features, targets, norm, num_classes)
    val_norm, val_targets = FoldedNorm(norm, val[0]), torch.tensor(val[1], device=features.device)
    flat = before = np.zeros(objective.shape[0] * num_classes)
    path: list[LogisticFit] = []
    best_accuracy, best_nll, num_worse = -1.0, np.inf, 0
    ordered = sorted(strengths)
    for position, strength in enumerate(ordered):
        start = flat + _step_ahead(ordered, position) * (flat - before)
        before = flat
        flat, num_iterations = _fit(objective, start, strength, len(targets), num_classes)
        weights = torch.from_numpy(flat.reshape(objective.shape)).to(features.device, torch.float32)
        path.append(LogisticFit(inverse_l2=strength, weights=weights, num_iterations=num_iterations))
        folded, bias = val_norm.fold(weights)
        products = torch.cat([rows @ folded for _, rows in val[0].blocks(len(val[0]))])
        logits = val_norm.scale_rows(products, slice(None)) + bias
        accuracy = float((logits.argmax(dim=1) == val_targets).double().mean())
        nll = float(torch.nn.functional.cross_entropy(logits.double(), val_targets))
        num_worse = 0 if accuracy > best_accuracy or nll < best_nll else num_worse + 1
        best_accuracy, best_nll = max(best_accuracy, accuracy), min(best_nll, nll)
        if patience is not None and num_worse >= patience:
            break
    return path


def _step_ahead(strengths: Sequence[float], position: int) -> float:
    """How far to go on in the direction of the last step: weights move about evenly in log C.

    Starting there instead of at the last fit saves another third of the iterations.
    """
    if position < 2:
        return 0.0
    before, current, following = np.log(strengths[position - 2 : position + 1])
    return float((following - current) / (current - before)) if current > before else 0.0


def _fit(
    objective: LogisticObjective, start: np.ndarray, strength: float, num_examples: int, num_classes: int
) -> tuple[np.ndarray, int]:
    # With two classes scikit-learn penalises one weight vector w; ours are ±w/2, whose squares sum to half.
    l2 = (2.0 if num_classes == 2 else 1.0) / (strength * num_examples)
    options = {"maxiter": MAX_ITERATIONS, "gtol": GRADIENT_TOLERANCE, "ftol": LOSS_TOLERANCE, "maxls": 50}
    result = minimize(objective, start, args=(l2,), jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(result.fun):
        raise DivergedError(
            f"logistic regression with C = {strength:g} has loss {result.fun}; check the features."
        )
    return result.x, int(result.nit)
