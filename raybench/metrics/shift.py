"""Metrics of the evaluator `shift`: accuracy on images of the same classes from another source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raybench.metrics.registry import evaluator_metric
from raybench.metrics.resampling import NotResampled
from raybench.metrics.validation import finite_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOT_STORED = NotResampled("predictions on shifted test sets are not stored")


@evaluator_metric("shift_accuracy", direction="max", bounds=(0.0, 1.0), resampling=NOT_STORED)
def shift_accuracy(accuracies: Sequence[float]) -> float:
    """Accuracy on shifted test sets, averaged over the sets.

    >>> shift_accuracy([0.5, 0.25])
    0.375
    """
    return finite_mean("shift_accuracy", accuracies)


@evaluator_metric("accuracy_gap", direction="min", bounds=(-1.0, 1.0), resampling=NOT_STORED)
def accuracy_gap(clean: float, shifted: float) -> float:
    """Clean accuracy on the classes of a shifted set, minus the accuracy on that set.

    >>> accuracy_gap(0.75, 0.5)
    0.25
    """
    return clean - shifted


@evaluator_metric("shape_bias", direction="max", bounds=(0.0, 1.0), resampling=NOT_STORED)
def shape_bias(
    answers: NDArray[Any], shapes: NDArray[Any], textures: NDArray[Any]
) -> tuple[float, int] | None:
    """Share of shape decisions among the cue-conflict images that are classified by shape or by texture.

    Args:
        answers: predicted class ids, shape [n].
        shapes: class ids of the shape, shape [n].
        textures: class ids of the texture, shape [n]; images where both cues agree do not count.

    Returns:
        Value and number of images that are classified by one of two different cues; None if there are none.

    Source: Geirhos et al., "ImageNet-trained CNNs are biased towards texture", ICLR 2019.

    >>> import numpy as np
    >>> shape_bias(np.array([0, 1, 0, 2]), np.array([0, 0, 0, 0]), np.array([1, 1, 0, 1]))
    (0.5, 2)
    """
    is_conflict = shapes != textures
    by_shape = int(((answers == shapes) & is_conflict).sum())
    by_texture = int(((answers == textures) & is_conflict).sum())
    num_decided = by_shape + by_texture
    return (by_shape / num_decided, num_decided) if num_decided else None
