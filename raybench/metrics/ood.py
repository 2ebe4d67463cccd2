"""Metrics of out-of-distribution detection.

In-distribution (ID) images are the positives: a higher score means more in-distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError
from raybench.metrics.registry import evaluator_metric
from raybench.metrics.resampling import NotResampled
from raybench.metrics.validation import finite_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOT_STORED = NotResampled("scores of single images are not stored")


@evaluator_metric("ood_auroc", direction="max", bounds=(0.0, 1.0), resampling=NOT_STORED)
def auroc(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Probability that an in-distribution image scores higher than an out-of-distribution one; a tie is half.

    >>> import numpy as np
    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
    0.875
    """
    from scipy.stats import rankdata

    _require("AUROC", inside, outside)
    ranks = rankdata([*inside, *outside])
    wins = ranks[: len(inside)].sum() - len(inside) * (len(inside) + 1) / 2
    return float(wins / (len(inside) * len(outside)))


@evaluator_metric("mean_ood_auroc", direction="max", bounds=(0.0, 1.0), resampling=NOT_STORED)
def mean_auroc(values: Sequence[float]) -> float:
    """Mean of `ood_auroc` over the out-of-distribution datasets.

    >>> mean_auroc([0.75, 0.25])
    0.5
    """
    return finite_mean("mean_ood_auroc", values)


@evaluator_metric("fpr95", direction="min", bounds=(0.0, 1.0), resampling=NOT_STORED)
def fpr95(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Share of OOD images that score at or above the threshold which keeps 95 % of in-distribution images.

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


def _require(name: str, inside: NDArray[Any], outside: NDArray[Any]) -> None:
    import numpy as np

    if not len(inside) or not len(outside):
        raise EmptyInputError(
            f"{name} needs images of both kinds, got {len(inside)} in and {len(outside)} out of distribution."
        )
    if not (np.isfinite(inside).all() and np.isfinite(outside).all()):
        raise NonFiniteMeasurementError(f"{name} was given scores that are NaN or infinite.")
