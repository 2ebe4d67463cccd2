"""Selective prediction: what a classifier is worth if it may decline to answer where it is least sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raybench.metrics.calibration import top_label
from raybench.metrics.registry import declare, metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

declare(
    "accuracy_at_coverage",
    direction="max",
    bounds=(0.0, 1.0),
    doc="Accuracy on the share of images that the classifier is surest of.",
)


def risk_coverage(
    logits: NDArray[Any], targets: NDArray[Any], name: str = "risk_coverage"
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(Coverage, risk), each [n]: the error rate on the 1, 2, …, n surest answers, by maximum softmax.

    Among equally sure answers the errors are spread evenly, so that the order of examples is no matter.

    Source: Geifman & El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
    """
    import numpy as np

    confidence, is_correct = top_label(name, logits, targets)
    _, group, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    error_rate = np.bincount(group, weights=1 - is_correct) / counts
    errors = np.repeat(error_rate, counts)
    answered = np.arange(1, len(errors) + 1)
    return answered / len(errors), errors.cumsum() / answered


@metric("aurc", direction="min", bounds=(0.0, 1.0))
def area_under_risk_coverage(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean error rate over all coverages, answering the surest images first.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 0 is never wrong, the error rate itself is confidence that says nothing.

    Source: Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.

    >>> import numpy as np
    >>> area_under_risk_coverage(np.array([[9.0, 0], [2, 0]]), np.array([0, 1]))
    0.25
    """
    return float(risk_coverage(logits, targets, "aurc")[1].mean())


def accuracy_at_coverage(logits: NDArray[Any], targets: NDArray[Any], coverage: float) -> float:
    """Accuracy on the ceil(coverage · n) surest images.

    >>> import numpy as np
    >>> accuracy_at_coverage(np.array([[9.0, 0], [2, 0]]), np.array([0, 1]), 0.5)
    1.0
    """
    import math

    _, risk = risk_coverage(logits, targets, "accuracy_at_coverage")
    answered = max(1, math.ceil(round(coverage * len(risk), 9)))
    return min(1.0, max(0.0, 1.0 - float(risk[answered - 1])))
