"""Metrics of the evaluator `corruption`: accuracy on corrupted images.

Source: Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019, section 4.
"""

from collections.abc import Sequence

from raybench.metrics.registry import evaluator_metric
from raybench.metrics.resampling import NotResampled
from raybench.metrics.validation import finite_mean

NOT_STORED = NotResampled("answers to corrupted images are not stored")


@evaluator_metric("corruption_accuracy", direction="max", bounds=(0.0, 1.0), resampling=NOT_STORED)
def corruption_accuracy(accuracies: Sequence[float]) -> float:
    """Accuracy under one corruption, averaged over severities.

    >>> corruption_accuracy([0.5, 0.25])
    0.375
    """
    return finite_mean("corruption_accuracy", accuracies)


@evaluator_metric("mean_corruption_error", direction="min", bounds=(0.0, 1.0), resampling=NOT_STORED)
def mean_corruption_error(accuracies: Sequence[float]) -> float:
    """Error rate under corruptions, averaged over severities, then corruptions except frost.

    Args:
        accuracies: `corruption_accuracy` of every corruption.

    >>> mean_corruption_error([0.5, 0.25])
    0.625
    """
    return finite_mean("mean_corruption_error", [1.0 - accuracy for accuracy in accuracies])


@evaluator_metric("relative_corruption_error", direction="min", bounds=(-1.0, 1.0), resampling=NOT_STORED)
def relative_corruption_error(accuracies: Sequence[float], clean_error: float) -> float:
    """Mean corruption error minus the clean error on the same images.

    Args:
        accuracies: `corruption_accuracy` of every corruption.
        clean_error: error rate on the same images without corruption.

    >>> relative_corruption_error([0.5, 0.25], 0.125)
    0.5
    """
    return mean_corruption_error(accuracies) - clean_error


@evaluator_metric(
    "alexnet_normalized_mce", direction="min", bounds=(0.0, float("inf")), resampling=NOT_STORED
)
def alexnet_normalized_mce(accuracies: Sequence[float], reference_errors: Sequence[float]) -> float:
    """mCE of ImageNet-C without frost: each corruption's error divided by AlexNet's, then averaged.

    Args:
        accuracies: `corruption_accuracy` of every corruption.
        reference_errors: AlexNet's error rate under each, in the same order.

    >>> alexnet_normalized_mce([0.5, 0.25], [1.0, 0.5])
    1.0
    """
    ratios = [(1.0 - accuracy) / error for accuracy, error in zip(accuracies, reference_errors, strict=True)]
    return finite_mean("alexnet_normalized_mce", ratios)
