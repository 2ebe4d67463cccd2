"""Checks of the metrics' inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike, NDArray


def validated_tensors(
    metric: str, logits: NDArray[Any], targets: NDArray[Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert logits [n, c] to float32 and targets [n] to int64 tensors, after checking both.

    Raises:
        EmptyInputError: if there are no examples or no classes.
        NonFiniteMeasurementError: if a logit is NaN or infinite (argmax would return a class all the same).
        ValueError: if the shapes disagree or a target lies outside [0, c).
    """
    import numpy as np
    import torch

    if logits.ndim != 2 or targets.ndim != 1 or len(logits) != len(targets):
        raise ValueError(
            f"{metric} needs logits [n, c] and targets [n], "
            f"got shapes {list(logits.shape)} and {list(targets.shape)}."
        )
    if logits.size == 0:
        raise EmptyInputError(
            f"{metric} needs at least one example, got logits of shape {list(logits.shape)}."
        )
    if not np.isfinite(logits).all():
        raise NonFiniteMeasurementError(
            f"{metric} was given logits that are NaN or infinite; training diverged."
        )
    low, high, num_classes = int(targets.min()), int(targets.max()), logits.shape[1]
    if low < 0 or high >= num_classes:
        raise ValueError(f"{metric} needs targets in [0, {num_classes}), got [{low}, {high}].")
    # Copies: torch warns about read-only arrays (memory maps), and float16 has too few digits.
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(targets, dtype=torch.int64)


def finite_mean(metric: str, values: ArrayLike) -> float:
    """Mean of the values, in float64.

    Raises:
        EmptyInputError: if there is no value.
        NonFiniteMeasurementError: if a value is NaN or infinite.
    """
    import numpy as np

    array = np.asarray(values)
    if array.size == 0:
        raise EmptyInputError(f"{metric} needs at least one value, got none.")
    if not np.isfinite(array).all():
        raise NonFiniteMeasurementError(f"{metric} was given values that are NaN or infinite.")
    return float(np.mean(array))
