"""Calibration metrics, by netcal, with the choices and checks that netcal leaves to the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raybench.metrics.registry import declare, metric
from raybench.metrics.resampling import NotResampled, PerExampleMean
from raybench.metrics.validation import validated_tensors

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

NUM_BINS = 15
"""netcal's own default is 10; 15 is the count most papers report."""
BINNED = NotResampled(
    "resampling adds noise to every bin, which a binned calibration error counts as miscalibration"
)
"""A percentile interval would lie above the measured value."""


def _squared_distances(logits: NDArray[Any], targets: NDArray[Any]) -> PerExampleMean:
    return PerExampleMean(_squared_distance(logits, targets).numpy())


@metric("ece", direction="min", bounds=(0.0, 1.0), resampling=BINNED)
def expected_calibration_error(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean gap between top-label confidence and accuracy over 15 equal-width bins.

    Args:
        logits: shape [n, c]; the softmax is taken here, in float64 (netcal would clip logits and answer).
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 0 is perfectly calibrated. Few examples per bin bias it upwards.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    >>> import numpy as np
    >>> logits = np.log(np.array([[0.9, 0.05, 0.05]] * 4))
    >>> round(expected_calibration_error(logits, np.array([0, 0, 0, 1])), 6)
    0.15
    """
    from netcal.metrics import ECE  # Deferred: it loads torch; `raybench rank` need not.

    return _within_one(ECE(bins=NUM_BINS), *top_label("ece", logits, targets))


@metric("mce", direction="min", bounds=(0.0, 1.0), resampling=BINNED)
def maximum_calibration_error(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Largest gap between top-label confidence and accuracy among 15 equal-width bins.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 0 is perfectly calibrated. A bin with one example can decide it.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.

    >>> import numpy as np
    >>> logits = np.log(np.array([[0.9, 0.1]] * 2 + [[0.6, 0.4]] * 2))
    >>> round(maximum_calibration_error(logits, np.array([0, 0, 1, 1])), 6)
    0.6
    """
    from netcal.metrics import MCE

    return _within_one(MCE(bins=NUM_BINS), *top_label("mce", logits, targets))


@metric("adaptive_ece", direction="min", bounds=(0.0, 1.0), resampling=BINNED)
def adaptive_calibration_error(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Top-label calibration error as `ece`, over 15 bins with equally many examples.

    Examples of equal confidence share their mean accuracy, so that the order of examples does not matter.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 0 is perfectly calibrated.

    Source: Nguyen & O'Connor, EMNLP 2015 (top label); Nixon et al., "Measuring Calibration in Deep
    Learning", CVPR workshop 2019.

    >>> import numpy as np
    >>> logits = np.log(np.array([[0.9, 0.05, 0.05]] * 4))
    >>> round(adaptive_calibration_error(logits, np.array([0, 0, 0, 1])), 6)
    0.15
    """
    confidence, is_correct = top_label("adaptive_ece", logits, targets)
    is_correct = _shared_by_ties(confidence, is_correct)
    order = confidence.argsort(kind="stable")
    # netcal's `equal_intervals=False` makes empty and double bins from quantiles of few or tied values.
    gaps = [
        len(part) * abs(float(confidence[part].mean() - is_correct[part].mean()))
        for part in _parts(order, NUM_BINS)
    ]
    return sum(gaps) / len(confidence)


@metric("classwise_ece", direction="min", bounds=(0.0, 1.0), resampling=BINNED)
def classwise_calibration_error(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean over classes of the gap between a class's probability and its frequency, over 15 bins each.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 0 is perfectly calibrated. Small where there are many classes, because most
        probabilities are near 0 there: compare within a task only.

    Source: Kull et al., "Beyond temperature scaling", NeurIPS 2019, equation 4.

    >>> import numpy as np
    >>> round(classwise_calibration_error(np.log(np.array([[0.8, 0.2]] * 5)), np.array([0, 0, 0, 0, 1])), 6)
    0.0
    """
    from netcal.metrics import ECE

    scores, labels = validated_tensors("classwise_ece", logits, targets)
    probabilities = scores.double().softmax(dim=1).numpy()
    is_class = labels[:, None].numpy() == range(probabilities.shape[1])
    errors = [
        _within_one(ECE(bins=NUM_BINS), probabilities[:, c], is_class[:, c].astype(int))
        for c in range(probabilities.shape[1])
    ]
    return sum(errors) / len(errors)


@metric("brier", direction="min", bounds=(0.0, 2.0), resampling=_squared_distances)
def brier_score(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean squared distance between the probabilities and the one-hot truth, summed over classes.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        In [0, 2]: 0 is sure and right, 2 sure and wrong, 1 − 1 / c the uniform answer.

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.

    >>> import numpy as np
    >>> round(brier_score(np.zeros((2, 4)), np.array([0, 3])), 6)
    0.75
    """
    return float(_squared_distance(logits, targets).mean())


def _squared_distance(logits: NDArray[Any], targets: NDArray[Any]) -> torch.Tensor:
    """Squared distance between each example's probabilities and its one-hot target, [n]."""
    from torch.nn.functional import one_hot

    scores, labels = validated_tensors("brier", logits, targets)
    probabilities = scores.double().softmax(dim=1)
    truth = one_hot(labels, probabilities.shape[1])
    return (probabilities - truth).square().sum(dim=1)


declare(
    "temperature",
    direction="min",
    bounds=(0.0, float("inf")),
    resampling=NotResampled("it is fitted on val; test examples do not enter"),
    doc="Divisor of the logits that calibrates them on val; above 1 for an overconfident classifier.",
)


def top_label(name: str, logits: NDArray[Any], targets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Confidence of the top label, and whether it is correct (0 or 1), each [n]; softmax in float64."""
    scores, labels = validated_tensors(name, logits, targets)
    confidence, predicted = scores.double().softmax(dim=1).max(dim=1)
    # netcal 1.4 calls a problem binary when at most two labels are *present*, and then scores the
    # positive class. With (confidence, correct) pairs it computes the top-label error.
    return confidence.numpy(), (predicted == labels).long().numpy()


def reliability(logits: NDArray[Any], targets: NDArray[Any]) -> list[dict[str, float]]:
    """Reliability diagram: middle, mean confidence, accuracy and count of every equal-width bin in use.

    The counts are the confidence histogram.
    """
    confidence, is_correct = top_label("reliability", logits, targets)
    bins = (confidence * NUM_BINS).astype(int).clip(max=NUM_BINS - 1)
    rows = []
    for index in range(NUM_BINS):
        inside = bins == index
        if inside.any():
            rows.append(
                {
                    "bin": (index + 0.5) / NUM_BINS,
                    "confidence": float(confidence[inside].mean()),
                    "accuracy": float(is_correct[inside].mean()),
                    "count": float(inside.sum()),
                }
            )
    return rows


def _within_one(measure: Any, confidence: NDArray[Any], is_correct: NDArray[Any]) -> float:
    """Cap the value at 1: netcal clips confidences 2e-16 away from 0 and 1, which can exceed the bound."""
    return min(1.0, float(measure.measure(confidence, is_correct)))


def _shared_by_ties(confidence: NDArray[Any], is_correct: NDArray[Any]) -> NDArray[Any]:
    """Per example the accuracy over all equally confident examples, [n]."""
    import numpy as np

    _, group, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    return np.asarray((np.bincount(group, weights=is_correct) / counts)[group])


def _parts(order: NDArray[Any], count: int) -> list[NDArray[Any]]:
    """Split `order` into at most `count` parts whose sizes differ by at most one."""
    import numpy as np

    return [part for part in np.array_split(order, count) if len(part)]
