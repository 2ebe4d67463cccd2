"""Intervals, ranks and probabilities from bootstrap replicates.

All are percentiles or shares of the replicates; z-scores and ranks are recomputed within each replicate.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.stats import rankdata

from raybench.analysis.bootstrap import Array, Replicates


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
    """Rank z-scores [..., backbones]: 1 is the largest, ties share the mean of their ranks.

    Rounded to 12 digits first, as in `overall`: another order of summation must not break a tie.
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
    """One row per backbone, best first, with intervals of its z-score and rank.

    Columns: rank, backbone, mean_zscore, zscore_low, zscore_high, rank_low, rank_high (percentiles),
    p_first and p_top (the shares of replicates in which it is first, or among the first `top`; if a tie
    crosses that limit, each tied backbone counts in part).
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
    """P(best) of each of `names` among them, with z-scores over all backbones: backbone, p_first."""
    columns = [replicates.backbones.index(name) for name in names]
    drawn = zscores_of(replicates.resampled, ddof=ddof, weights=weights)[:, columns]
    return pl.DataFrame({"backbone": list(names), "p_first": _in_top(drawn, 1).mean(axis=0)})


def win_probabilities(replicates: Replicates, *, ddof: int = 1, weights: Array | None = None) -> pl.DataFrame:
    """P(A beats B) in mean z-score, one row per ordered pair: backbone, other, probability.

    The share of replicates, ties counting half, so P(A beats B) + P(B beats A) = 1.
    """
    drawn = zscores_of(replicates.resampled, ddof=ddof, weights=weights).round(12)
    # One backbone at a time: all differences at once of 500 backbones would take 2 GB.
    probability = [(np.sign(drawn[:, [one]] - drawn).mean(axis=0) + 1) / 2 for one in range(drawn.shape[1])]
    names = list(replicates.backbones)
    pairs = {"backbone": np.repeat(names, len(names)), "other": np.tile(names, len(names))}
    frame = pl.DataFrame({**pairs, "probability": np.concatenate(probability)})
    return frame.filter(pl.col("backbone") != pl.col("other"))
