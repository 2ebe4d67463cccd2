"""Metrics of the evaluator `adversarial`: accuracy under attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError
from raybench.metrics.registry import evaluator_metric
from raybench.metrics.resampling import NotResampled
from raybench.metrics.validation import finite_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOT_STORED = NotResampled("outcomes of attacks on single images are not stored")
UPPER_BOUND = "upper bound"
"""Qualifier of robust accuracies: no attack finds every perturbation, least of all one with a fixed step
size."""


@evaluator_metric(
    "robust_accuracy", direction="max", bounds=(0.0, 1.0), resampling=NOT_STORED, qualifier=UPPER_BOUND
)
def robust_accuracy(broken_at: NDArray[Any], radius: int) -> float:
    """Share of images still classified correctly after the attack: an upper bound of worst-case accuracy.

    Args:
        broken_at: per image the index of the smallest radius that changes its class, −1 if it is already
            misclassified, and the number of radii if none changes it, shape [n].
        radius: index of the radius attacked with.

    >>> import numpy as np
    >>> robust_accuracy(np.array([-1, 0, 1, 2]), 0)
    0.5
    """
    return finite_mean("robust_accuracy", broken_at > radius)


@evaluator_metric(
    "mean_robust_accuracy", direction="max", bounds=(0.0, 1.0), resampling=NOT_STORED, qualifier=UPPER_BOUND
)
def mean_robust_accuracy(accuracies: Sequence[float]) -> float:
    """Mean robust accuracy over radii: under all attacks of a norm if APGD was run, else per attack.

    >>> mean_robust_accuracy([0.75, 0.25])
    0.5
    """
    return finite_mean("mean_robust_accuracy", accuracies)


@evaluator_metric("median_perturbation", direction="max", bounds=(0.0, float("inf")), resampling=NOT_STORED)
def median_perturbation(distances: NDArray[Any]) -> float:
    """Median L2 norm of the smallest perturbation found that changes the class; 0 for misclassified images.

    Args:
        distances: one per image, shape [n]; infinite where none was found.

    Returns:
        In [0, inf]: infinite if no perturbation was found for half of the images or more.

    >>> import numpy as np
    >>> median_perturbation(np.array([0.0, 1.5, np.inf]))
    1.5
    """
    import numpy as np

    if len(distances) == 0:
        raise EmptyInputError("median_perturbation needs at least one image, got none.")
    if np.isnan(distances).any():
        raise NonFiniteMeasurementError("median_perturbation was given distances that are NaN.")
    return float(np.median(distances))
