"""How sure a ranking is: paired bootstrap over test examples and seeds.

Test examples are drawn with replacement within each task, the same draw for every backbone (paired: what is
hard for all moves all, and cancels between them). Seeds are few, and few cannot be drawn from: the variance
of 2 comes out half as large, and 95 % intervals held the truth 79 % of the time. So every backbone's mean is
moved by a Student-distributed step of its own instead, as wide as the spread between seeds says, which is
estimated over all backbones of the task. Tasks and backbones are kept as they are: the doubt is about these
tasks, not about others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError

Array = NDArray[np.float64]
PerBackbone = NDArray[np.generic] | Sequence[NDArray[np.generic]]
"""One array [seeds, n] or, of one seed, [n] per backbone; seeds may differ in number."""
BLOCK = 128
"""Replicates drawn at once: weights of 128 × 10,000 examples are 5 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicates:
    """Scores as measured and as redrawn; the input of every interval and probability here."""

    backbones: tuple[str, ...]
    tasks: tuple[str, ...]
    estimates: Array
    """Mean over seeds and examples, higher is better, shape [backbones, tasks]."""
    resampled: Array
    """The same of every replicate, shape [replicates, backbones, tasks]."""


def replicate(
    per_example: Mapping[str, PerBackbone],
    backbones: Sequence[str],
    *,
    num_replicates: int = 1000,
    seed: int = 0,
) -> Replicates:
    """Redraw test examples, and move the means as other seeds would.

    Args:
        per_example: task → one number per backbone, seed and test example, higher is better (correct or not,
            reciprocal rank), shape [backbones, seeds, n] or, of one seed, [backbones, n]; or one array
            [seeds, n] per backbone, where one has more seeds than another. The order of examples must be the
            same for all backbones. n and seeds may differ between tasks.
        backbones: names, in the order of the arrays' first axis.
        num_replicates: how many times.
        seed: of the draws; the same seed gives the same replicates.

    With one seed nothing is known of others, and the doubt is that of the examples alone.

    Raises:
        EmptyInputError: if there is no task, or one has no example or another number of backbones.
        NonFiniteMeasurementError: if a value is NaN or infinite.
    """
    if not per_example:
        raise EmptyInputError("a bootstrap needs the per-example values of at least one task, got none.")
    rng = np.random.default_rng(seed)
    tasks = tuple(sorted(per_example))
    estimates = np.empty((len(backbones), len(tasks)))
    resampled = np.empty((num_replicates, len(backbones), len(tasks)))
    for column, task in enumerate(tasks):
        values = _checked(per_example[task], task, len(backbones))
        estimates[:, column] = [seeds.mean(dtype=np.float64) for seeds in values]
        resampled[:, :, column] = _resample(values, num_replicates, rng)
    return Replicates(backbones=tuple(backbones), tasks=tasks, estimates=estimates, resampled=resampled)


def _checked(values: PerBackbone, task: str, num_backbones: int) -> list[NDArray[np.float32]]:
    """Per backbone [seeds, n]."""
    arrays = [np.atleast_2d(np.asarray(seeds)) for seeds in values]
    fits = len(arrays) == num_backbones and len({array.shape[1:] for array in arrays}) == 1
    if not fits or any(array.ndim != 2 or array.size == 0 for array in arrays):
        raise EmptyInputError(
            f"per-example values of {task!r} have the shapes {[np.shape(seeds) for seeds in values]}; "
            f"expected [seeds, examples] of {num_backbones} backbones, as many examples of each, none empty."
        )
    if not all(np.isfinite(array.astype(np.float64, copy=False)).all() for array in arrays):
        raise NonFiniteMeasurementError(f"per-example values of {task!r} hold NaN or infinity.")
    # Counts times values of float32: single-precision BLAS is twice as fast.
    return [array.astype(np.float32) for array in arrays]


def _resample(values: Sequence[NDArray[np.float32]], num_replicates: int, rng: np.random.Generator) -> Array:
    """Means of every replicate, [replicates, backbones]: counts of the drawn examples times values."""
    num_backbones, n = len(values), values[0].shape[1]
    num_seeds = np.array([len(seeds) for seeds in values])
    means = np.empty((num_replicates, num_backbones))
    flat = np.ascontiguousarray(np.stack([seeds.mean(axis=0) for seeds in values]).T)
    for start in range(0, num_replicates, BLOCK):
        size = min(BLOCK, num_replicates - start)
        drawn = rng.integers(0, n, (size, n), dtype=np.int32) + np.arange(size, dtype=np.int32)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float32)
        means[start : start + size] = (counts @ flat).astype(np.float64) / n
    if (num_seeds == 1).all():
        return means
    steps = rng.standard_t((num_seeds - 1).sum(), means.shape)
    moved = means + steps * np.sqrt(seed_variance(values) / num_seeds)
    # A mean of examples lies between the smallest and the largest; seeds' scores alone have no such bounds.
    return np.clip(moved, min(map(np.min, values)), max(map(np.max, values))) if n > 1 else moved


def seed_variance(values: Sequence[NDArray[np.floating]] | NDArray[np.floating]) -> float:
    """Variance between seeds of a backbone's expected score on one task, the same for all backbones.

    That of the seeds' means, less what test examples alone make of it: seeds err on other examples, which is
    noise that redrawing the examples shows already. 0 where no more than that is seen.

    Args:
        values: per backbone [seeds, n], more than one seed of some; with n = 1 it is the seeds' scores, and
            nothing is taken off.
    """
    several = [seeds for seeds in values if len(seeds) > 1]
    degrees = [len(seeds) - 1 for seeds in several]
    means = [seeds.mean(axis=1, dtype=np.float64).var(ddof=1) for seeds in several]
    between, n = float(np.average(means, weights=degrees)), several[0].shape[1]
    if n == 1:
        return between
    within = np.average([seeds.var(axis=0, ddof=1).mean() for seeds in several], weights=degrees)
    return max(between - float(within) / n, 0.0)


def zscores_of(values: Array, *, ddof: int = 1, weights: Array | None = None) -> Array:
    """Mean z-score per backbone, by the paper's rule; a constant task counts 0.

    Args:
        values: scores, higher is better, shape [..., backbones, tasks].
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        weights: of the tasks, shape [tasks]; None: every task weighs the same.

    Returns:
        Shape [..., backbones].
    """
    low, high = values.min(axis=-2, keepdims=True), values.max(axis=-2, keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    scaled = (values - low) / span
    centred = scaled - scaled.mean(axis=-2, keepdims=True)
    num_backbones = values.shape[-2]
    variance = (centred**2).sum(axis=-2, keepdims=True) / max(num_backbones - ddof, 1)
    deviation = np.where(high > low, np.sqrt(variance), 1.0)
    return np.asarray(np.average(np.where(high > low, centred, 0.0) / deviation, axis=-1, weights=weights))


def ranks_of(zscores: Array) -> Array:
    """Rank 1 is the largest; ties share the mean of their ranks. Shape [..., backbones] → the same.

    Rounded to 12 digits first, as in `overall`: a sum in another order must not part a tie.
    """
    return np.asarray(rankdata(-zscores.round(12), axis=-1))


def score_intervals(replicates: Replicates, *, level: float = 0.95) -> pl.DataFrame:
    """Per backbone and task: value, low, high (percentiles of the replicates), standard_error."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates.resampled, [tail, 1 - tail], axis=0)
    error = replicates.resampled.std(axis=0, ddof=1)
    num_backbones, num_tasks = replicates.estimates.shape
    return pl.DataFrame(
        {
            "backbone": np.repeat(np.array(replicates.backbones), num_tasks).tolist(),
            "task": list(replicates.tasks) * num_backbones,
            "value": replicates.estimates.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "standard_error": error.ravel(),
        }
    )


def ranking_intervals(
    replicates: Replicates,
    *,
    level: float = 0.95,
    top: int = 3,
    ddof: int = 1,
    weights: Array | None = None,
) -> pl.DataFrame:
    """One row per backbone, best first, with the doubt about its place.

    Columns: rank, backbone, mean_zscore, zscore_low, zscore_high, rank_low, rank_high (percentiles),
    p_first and p_top (the shares of replicates in which it is first, or among the first `top`; a tie
    across the border counts by the share of the tied that fit).
    """
    measured = zscores_of(replicates.estimates, ddof=ddof, weights=weights)
    drawn = zscores_of(replicates.resampled, ddof=ddof, weights=weights)
    ranks = ranks_of(drawn)
    tail = (1 - level) / 2
    zscore_low, zscore_high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    rank_low, rank_high = np.quantile(ranks, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return pl.DataFrame(
        {
            "rank": ranks_of(measured),
            "backbone": replicates.backbones,
            "mean_zscore": measured,
            "zscore_low": zscore_low,
            "zscore_high": zscore_high,
            "rank_low": rank_low,
            "rank_high": rank_high,
            "p_first": _in_top(drawn, 1).mean(axis=0),
            "p_top": _in_top(drawn, top).mean(axis=0),
        }
    ).sort("rank", "backbone")


def _in_top(zscores: Array, top: int) -> Array:
    rounded = -zscores.round(12)
    first, last = rankdata(rounded, "min", axis=-1), rankdata(rounded, "max", axis=-1)
    return np.asarray(np.clip((top - first + 1) / (last - first + 1), 0.0, 1.0))


def best_probabilities(
    replicates: Replicates, names: Sequence[str], *, ddof: int = 1, weights: Array | None = None
) -> pl.DataFrame:
    """P(best) of `names` among themselves, by z-scores among all: backbone, p_first; a tie is shared."""
    places = [replicates.backbones.index(name) for name in names]
    drawn = zscores_of(replicates.resampled, ddof=ddof, weights=weights)[:, places]
    return pl.DataFrame({"backbone": list(names), "p_first": _in_top(drawn, 1).mean(axis=0)})


def win_probabilities(replicates: Replicates, *, ddof: int = 1, weights: Array | None = None) -> pl.DataFrame:
    """P(A beats B) in mean z-score, one row per ordered pair: backbone, other, probability; a tie is half.

    It is the share of bootstrap replicates, so P(A beats B) + P(B beats A) = 1.
    """
    drawn = zscores_of(replicates.resampled, ddof=ddof, weights=weights).round(12)
    difference = np.sign(drawn[:, :, None] - drawn[:, None, :])
    probability = (difference.mean(axis=0) + 1) / 2
    names = replicates.backbones
    return pl.DataFrame(
        [
            (one, other, float(probability[i, j]))
            for i, one in enumerate(names)
            for j, other in enumerate(names)
            if i != j
        ],
        schema={"backbone": pl.String, "other": pl.String, "probability": pl.Float64},
        orient="row",
    )
