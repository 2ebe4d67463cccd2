"""Effective robustness: accuracy under shift beyond what clean accuracy predicts."""

import numpy as np
import polars as pl

from raybench.core.errors import EmptyInputError, OutOfBoundsError

CLIP = 1e-4
"""Accuracies are clipped to [CLIP, 1 − CLIP] before the logit; half an example of 5,000."""


def effective_robustness(scores: pl.DataFrame, *, baseline: tuple[str, ...] = ()) -> pl.DataFrame:
    """Per backbone and condition the accuracy under shift minus the prediction from clean accuracy.

    The prediction is a least-squares line of logit(accuracy under shift) in logit(clean accuracy), fitted on
    the baseline backbones. Positive values: more robust than expected.

    Columns: backbone, condition, clean, shifted, expected, effective_robustness (a difference of accuracies,
    in [−1, 1]), slope, r_squared (of the line, in logits; null if the shifted accuracies are all equal).

    Args:
        scores: columns read: backbone, condition, clean, shifted (accuracies in [0, 1]).
        baseline: backbones to fit the line on; all if empty. The paper uses models trained on ImageNet only.

    Raises:
        OutOfBoundsError: if an accuracy is not in [0, 1].
        EmptyInputError: if a condition has fewer than 3 baseline backbones, or all have equal clean accuracy.

    Source: Taori et al., "Measuring Robustness to Natural Distribution Shifts", NeurIPS 2020.
    """
    is_inside = scores.select(pl.all_horizontal(pl.col("clean", "shifted").is_between(0, 1))).to_series()
    if not is_inside.fill_null(value=False).all():
        raise OutOfBoundsError("effective robustness needs accuracies in [0, 1]; one is missing or outside.")
    frames = [
        _one_condition(group.sort("backbone"), str(key[0]), baseline)
        for key, group in scores.group_by("condition", maintain_order=True)
    ]
    if not frames:
        raise EmptyInputError("effective robustness needs accuracies under at least one shift, got none.")
    return pl.concat(frames).sort("condition", "backbone")


def _logit(accuracy: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    clipped = np.clip(accuracy.to_numpy().astype(np.float64), CLIP, 1 - CLIP)
    return np.log(clipped / (1 - clipped))


def _one_condition(group: pl.DataFrame, condition: str, baseline: tuple[str, ...]) -> pl.DataFrame:
    clean, shifted = _logit(group["clean"]), _logit(group["shifted"])
    names = group["backbone"].to_list()
    is_baseline = np.array([not baseline or name in baseline for name in names])
    if is_baseline.sum() < 3 or np.ptp(clean[is_baseline]) == 0:
        raise EmptyInputError(
            f"the line for {condition!r} needs 3 backbones of different clean accuracy or more, "
            f"got {int(is_baseline.sum())}."
        )
    x, y = clean[is_baseline], shifted[is_baseline]
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
