"""Selective prediction: accuracy of a classifier that may abstain where it is least confident."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raybench.metrics.calibration import top_label
from raybench.metrics.registry import evaluator_metric, metric
from raybench.metrics.resampling import NotResampled, WeightedFunction

if TYPE_CHECKING:
    from numpy.typing import NDArray


def risk_coverage(
    logits: NDArray[Any], targets: NDArray[Any], name: str = "risk_coverage"
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Coverage and risk, each [n]: error rates on the 1, 2, …, n most confident answers, by maximum softmax.

    Equally confident answers share their error rate, so that the order of examples does not matter.

    Source: Geifman & El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
    """
    import numpy as np

    group, is_wrong = _by_confidence(name, logits, targets)
    risk = _risk(group, is_wrong, np.ones(len(group)))
    return np.arange(1, len(risk) + 1) / len(risk), risk


def _by_confidence(
    name: str, logits: NDArray[Any], targets: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rank of each confidence (0 is the highest, ties share it) and whether the answer is wrong, each [n]."""
    import numpy as np

    confidence, is_correct = top_label(name, logits, targets)
    _, group = np.unique(-confidence, return_inverse=True)
    return group, 1 - is_correct


def _risk(group: NDArray[Any], is_wrong: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Error rate at every coverage, where example i occurs `counts[i]` times."""
    import numpy as np

    sizes = np.bincount(group, weights=counts)
    num_wrong = np.bincount(group, weights=counts * is_wrong)
    rates = np.divide(num_wrong, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    errors = np.repeat(rates, sizes.astype(np.int64))
    return np.asarray(errors.cumsum() / np.arange(1, len(errors) + 1))


def _mean_risk(logits: NDArray[Any], targets: NDArray[Any]) -> WeightedFunction:
    group, is_wrong = _by_confidence("aurc", logits, targets)
    return WeightedFunction(len(group), lambda counts: float(_risk(group, is_wrong, counts).mean()))


@metric("aurc", direction="min", bounds=(0.0, 1.0), resampling=_mean_risk)
def area_under_risk_coverage(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean error rate over all coverages, answering the most confident images first.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 0 is never wrong; uninformative confidence gives the error rate.

    Source: Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.

    >>> import numpy as np
    >>> area_under_risk_coverage(np.array([[9.0, 0], [2, 0]]), np.array([0, 1]))
    0.25
    """
    return float(risk_coverage(logits, targets, "aurc")[1].mean())


@evaluator_metric(
    "accuracy_at_coverage",
    direction="max",
    bounds=(0.0, 1.0),
    resampling=NotResampled("its coverage is a setting of the evaluator, not of the metric"),
)
def accuracy_at_coverage(logits: NDArray[Any], targets: NDArray[Any], coverage: float) -> float:
    """Accuracy on the share of images with the highest confidence: the first ceil(coverage · n).

    >>> import numpy as np
    >>> accuracy_at_coverage(np.array([[9.0, 0], [2, 0]]), np.array([0, 1]), 0.5)
    1.0
    """
    import math

    _, risk = risk_coverage(logits, targets, "accuracy_at_coverage")
    answered = max(1, math.ceil(round(coverage * len(risk), 9)))
    return min(1.0, max(0.0, 1.0 - float(risk[answered - 1])))
