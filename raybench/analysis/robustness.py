"""Effective robustness: how much better a backbone does under shift than its clean accuracy promises."""

import numpy as np
import polars as pl

from raybench.core.errors import EmptyInputError, OutOfBoundsError

CLIP = 1e-4
"""Accuracies of exactly 0 or 1 are moved this far inside before the logit; half an example of 5,000."""


def effective_robustness(scores: pl.DataFrame, *, baseline: tuple[str, ...] = ()) -> pl.DataFrame:
    """Per backbone and condition: accuracy under shift minus what the fit predicts from clean accuracy.

    Over the baseline's backbones, logit(accuracy under shift) is fitted by least squares as a line in
    logit(clean accuracy); the prediction is turned back into an accuracy. Positive: more
    robust than expected.

    Columns: backbone, condition, clean, shifted, expected, effective_robustness (a difference of accuracies,
    in [−1, 1]), slope, r_squared (of the line, in logits; null where shifted accuracies do not vary).

    Args:
        scores: columns read: backbone, condition, clean, shifted (accuracies in [0, 1]).
        baseline: backbones to fit the line over; empty takes all. The paper fits models
            trained on ImageNet only.

    Raises:
        OutOfBoundsError: if an accuracy is not in [0, 1].
        EmptyInputError: if a condition has fewer than 3 baseline backbones, or all have one clean accuracy.

    Source: Taori et al., "Measuring Robustness to Natural Distribution Shifts", NeurIPS 2020.
    """
    inside = scores.select(pl.all_horizontal(pl.col("clean", "shifted").is_between(0, 1))).to_series()
    if not inside.fill_null(value=False).all():
        raise OutOfBoundsError("effective robustness needs accuracies in [0, 1]; one is missing or outside.")
    frames = [
        _one_condition(group.sort("backbone"), str(key[0]), baseline)
        for key, group in scores.group_by("condition", maintain_order=True)
    ]
    if not frames:
        raise EmptyInputError("effective robustness needs accuracies under at least one shift, got none.")
    return pl.concat(frames).sort("condition", "backbone")


def _logit(accuracy: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    inside = np.clip(accuracy.to_numpy().astype(np.float64), CLIP, 1 - CLIP)
    return np.log(inside / (1 - inside))


def _one_condition(group: pl.DataFrame, condition: str, baseline: tuple[str, ...]) -> pl.DataFrame:
    clean, shifted = _logit(group["clean"]), _logit(group["shifted"])
    names = group["backbone"].to_list()
    fitted = np.array([not baseline or name in baseline for name in names])
    if fitted.sum() < 3 or np.ptp(clean[fitted]) == 0:
        raise EmptyInputError(
            f"the line for {condition!r} needs 3 backbones of different clean accuracy or more, "
            f"got {int(fitted.sum())}."
        )
    x, y = clean[fitted], shifted[fitted]
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    intercept = float(y.mean() - slope * x.mean())
    total = float(((y - y.mean()) ** 2).sum())
    r_squared = None if total == 0 else 1 - float(((y - intercept - slope * x) ** 2).sum()) / total
    expected = 1 / (1 + np.exp(-(intercept + slope * clean)))
    return group.select("backbone", "condition", "clean", "shifted").with_columns(
        expected=pl.Series(expected),
        effective_robustness=pl.col("shifted") - pl.Series(expected),
        slope=pl.lit(slope),
        r_squared=pl.lit(r_squared, dtype=pl.Float64),
    )
