"""Calibration metrics, by netcal. What netcal leaves to the caller is decided and checked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raybench.metrics.agreement import checked
from raybench.metrics.registry import metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_BINS = 15
"""netcal's own default is 10; 15 is the count most papers report."""


@metric("ece", direction="min", bounds=(0.0, 1.0))
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

    scores, labels = checked("ece", logits, targets)
    confidence, predicted = scores.double().softmax(dim=1).max(dim=1)
    # netcal 1.4 calls a problem binary when at most two labels are *present*, and then scores the
    # positive class. Handing it (confidence, correct) pairs asks the top-label question outright.
    is_correct = (predicted == labels).long()
    # netcal keeps confidences away from 0 and 1 by 2e-16, which must not carry the value over a bound.
    return min(1.0, float(ECE(bins=NUM_BINS).measure(confidence.numpy(), is_correct.numpy())))
