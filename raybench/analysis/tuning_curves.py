"""Search budget: expected best-of-k curves, scores at a smaller budget, gain over default hyperparameters.

All functions read validation scores of search trials, never test scores.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import gammaln

from raybench.analysis.scores import SIGN
from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError

Array = NDArray[np.float64]
KEY = ["backbone", "task"]


def expected_best(values: Array) -> Array:
    """Expected best of k trials drawn without replacement, for k = 1 … n, shape [n] → [n]; higher is better.

    Exactly Σ_i v_(i) · C(i − 1, k − 1) / C(n, k) over the values in ascending order: the i-th value is the
    best of k if the other k − 1 are among the i − 1 below it. The first entry is the mean, the last the
    maximum.

    Raises:
        EmptyInputError: if there is no value.
        NonFiniteMeasurementError: if one is NaN or infinite.

    Source: Dodge et al., "Show Your Work", EMNLP 2019, in the unbiased form of Tang et al., ACL 2020.

    >>> expected_best(np.array([1.0, 2.0, 4.0])).round(4).tolist()
    [2.3333, 3.3333, 4.0]
    """
    if values.size == 0:
        raise EmptyInputError("a best-of-k curve needs at least one finished trial, got none.")
    if not np.isfinite(values).all():
        raise NonFiniteMeasurementError("a trial's value is NaN or infinite; leave failed trials out.")
    n = values.size
    i, k = np.arange(1, n + 1)[None, :], np.arange(1, n + 1)[:, None]
    can_be_best = i >= k
    log_weight = gammaln(i) - gammaln(k) - gammaln(np.where(can_be_best, i - k, 0) + 1)  # log C(i − 1, k − 1)
    log_all = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    weights = np.where(can_be_best, np.exp(log_weight - log_all), 0.0)
    return np.asarray(weights @ np.sort(values))


def best_of_k(trials: pl.DataFrame) -> pl.DataFrame:
    """Compute `expected_best` per pair: backbone, task, k, expected (in the metric's own sign), num_trials.

    Args:
        trials: finished search trials; columns read: backbone, task, direction ("min" or "max"),
            value (on val).
    """
    frames = [
        pl.DataFrame({"backbone": key[0], "task": key[1], "k": range(1, curve.size + 1), "expected": curve})
        for key, curve in ((key, _signed_curve(group)) for key, group in trials.group_by(KEY))
    ]
    if not frames:
        raise EmptyInputError("a best-of-k curve needs at least one finished trial, got none.")
    return pl.concat(frames).with_columns(num_trials=pl.len().over(KEY)).sort(*KEY, "k")


def _signed_curve(group: pl.DataFrame) -> Array:
    sign = -1.0 if group["direction"][0] == "min" else 1.0
    return sign * expected_best(sign * group["value"].to_numpy().astype(np.float64))


def scores_at_budget(trials: pl.DataFrame, *, share: float) -> pl.DataFrame:
    """Expected scores of a search with a share of its trials: backbone, task, direction, k, value.

    The ranking functions read the result as scores.

    Args:
        trials: as for `best_of_k`.
        share: of each pair's trials, in (0, 1]; the number is rounded up.
    """
    directions = trials.select(*KEY, "direction").unique()
    return (
        best_of_k(trials)
        .filter(pl.col("k") == (pl.col("num_trials") * share).ceil().clip(1, None))
        .join(directions, on=KEY)
        .select(*KEY, "direction", "k", value="expected")
        .sort(KEY)
    )


def budget_sufficiency(trials: pl.DataFrame) -> pl.DataFrame:
    """Gain of the second half of each pair's trials: backbone, task, half, full, gain, relative_gain.

    `gain` is positive if more trials helped; `relative_gain` is its share of the gain over a single random
    trial, in [0, 1]: near 0 the search has converged. It is 0 if the search gained nothing.
    """
    curves = best_of_k(trials).join(trials.select(*KEY, "direction").unique(), on=KEY)
    half_k = (pl.col("num_trials").first() / 2).ceil()
    pairs = curves.group_by(KEY).agg(
        one=pl.col("expected").filter(pl.col("k") == 1).first(),
        half=pl.col("expected").filter(pl.col("k") == half_k).first(),
        full=pl.col("expected").filter(pl.col("k") == pl.col("num_trials")).first(),
        sign=SIGN.first(),
    )
    gain, whole = (
        pl.col("sign") * (pl.col("full") - pl.col("half")),
        pl.col("sign") * (pl.col("full") - pl.col("one")),
    )
    relative = pl.when(whole > 0).then((gain / whole).clip(0.0, 1.0)).otherwise(0.0)
    return (
        pairs.with_columns(gain=gain, relative_gain=relative)
        .select(*KEY, "half", "full", "gain", "relative_gain")
        .sort(KEY)
    )


def gain_over_defaults(trials: pl.DataFrame) -> pl.DataFrame:
    """Gain of tuning per pair: backbone, task, default, best, gain (positive if tuning helped), num_trials.

    `gain` is null if the default trial did not finish. It is measured on val, where the best trial is
    selected, and therefore too high.

    Args:
        trials: as for `best_of_k`, and `index`: trial 0 has the protocol's default hyperparameters.
    """
    return (
        trials.with_columns(good=SIGN * pl.col("value"), sign=SIGN)
        .group_by(KEY)
        .agg(
            default=pl.col("value").filter(pl.col("index") == 0).first(),
            best=pl.col("value").sort_by("good").last(),
            sign=pl.col("sign").first(),
            num_trials=pl.len(),
        )
        .with_columns(gain=pl.col("sign") * (pl.col("best") - pl.col("default")))
        .select(*KEY, "default", "best", "gain", "num_trials")
        .sort(KEY)
    )
