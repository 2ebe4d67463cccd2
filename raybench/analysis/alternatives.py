"""Rankings by mean rank, win rate and Bradley-Terry strength; tests whether differences are significant.

All functions read a complete table of scores: backbone, task, direction ("min" or "max"), value.
"""

import math
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from raybench.analysis.correlation import kendall
from raybench.analysis.scores import SIGN, require_complete, to_matrix
from raybench.analysis.zscores import zscore_within_task
from raybench.core.errors import EmptyInputError

Array = NDArray[np.float64]


def oriented(scores: pl.DataFrame) -> tuple[list[str], list[str], Array]:
    """Backbones, tasks (both sorted) and values, negated where lower is better, [backbones, tasks].

    Raises:
        MissingMeasurementError: if a pair has no score.
    """
    return to_matrix(require_complete(scores).with_columns(value=SIGN * pl.col("value")), "value")


def alternative_rankings(scores: pl.DataFrame) -> pl.DataFrame:
    """Rank backbones by mean z-score, mean rank, win rate and Bradley-Terry strength, one row each.

    Columns: backbone, mean_zscore, mean_rank, win_rate (share of comparisons won with another backbone on a
    task, ties count half, in [0, 1]), strength (Bradley-Terry, in Elo points with mean 0), and the ranks
    rank_zscore, rank_mean_rank, rank_win_rate, rank_bradley_terry: 1 is best, ties share the mean.
    """
    backbones, _, values = oriented(scores)
    zscores = zscore_within_task(scores).group_by("backbone").agg(z=pl.col("zscore").sort().mean().round(12))
    columns = {
        "mean_zscore": zscores.sort("backbone")["z"].to_numpy(),
        "mean_rank": stats.rankdata(-values, axis=0).mean(axis=1),
        "win_rate": win_rates(values),
        "strength": bradley_terry(values),
    }
    return (
        pl.DataFrame({"backbone": backbones, **columns})
        .with_columns(
            rank_zscore=pl.col("mean_zscore").round(12).rank("average", descending=True),
            rank_mean_rank=pl.col("mean_rank").round(12).rank("average"),
            rank_win_rate=pl.col("win_rate").round(12).rank("average", descending=True),
            rank_bradley_terry=pl.col("strength").round(6).rank("average", descending=True),
        )
        .sort("rank_zscore", "backbone")
    )


def wins(values: Array) -> Array:
    """Number of tasks on which row beats column, ties count half, shape [backbones, backbones]."""
    larger = (values[:, None, :] > values[None, :, :]).sum(axis=2)
    equal = (values[:, None, :] == values[None, :, :]).sum(axis=2)
    won = larger + 0.5 * equal
    np.fill_diagonal(won, 0.0)
    return np.asarray(won, dtype=np.float64)


def win_rates(values: Array) -> Array:
    """Share of comparisons won, [backbones]; 0.5 for a single backbone."""
    num_backbones, num_tasks = values.shape
    if num_backbones == 1:
        return np.array([0.5])
    return np.asarray(wins(values).sum(axis=1) / (num_tasks * (num_backbones - 1)))


def bradley_terry(values: Array, *, prior: float = 0.5, tolerance: float = 1e-10) -> Array:
    """Bradley-Terry strengths in Elo points, mean 0, [backbones].

    P(a beats b) = 1 / (1 + 10^((b − a) / 400)).

    Every pair gets `prior` additional wins each way, without which a backbone that never loses would be
    infinitely strong. Computed by the MM algorithm of Hunter, "MM algorithms for generalized Bradley-Terry
    models", Annals of Statistics 2004.
    """
    won = wins(values)
    off_diagonal = ~np.eye(len(won), dtype=bool)
    won = won + prior * off_diagonal
    games, total = won + won.T, won.sum(axis=1)
    strength = np.ones(len(won))
    for _ in range(10_000):
        pair_sums = strength[:, None] + strength[None, :]
        denominator = (games / pair_sums).sum(axis=1)
        new = np.divide(total, denominator, out=np.ones_like(total), where=denominator > 0)
        new /= np.exp(np.log(new).mean())
        if np.abs(np.log(new) - np.log(strength)).max() < tolerance:
            strength = new
            break
        strength = new
    return np.asarray(np.log10(strength) * 400)


def friedman(scores: pl.DataFrame) -> pl.DataFrame:
    """Friedman's test, one row: statistic (χ², corrected for ties), p_value, num_backbones, num_tasks.

    A small p-value means that the backbones are not all equal over these tasks. If every task ties all
    backbones, the statistic is 0 and the p-value 1.

    Raises:
        EmptyInputError: if there are fewer than 3 backbones or 2 tasks.

    Source: Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.
    """
    backbones, tasks, values = oriented(scores)
    k, n = len(backbones), len(tasks)
    if k < 3 or n < 2:
        raise EmptyInputError(
            f"Friedman's test needs 3 backbones and 2 tasks or more, got {k} on {n}; "
            "compare them by bootstrap."
        )
    if np.all(values == values[:1]):
        statistic, p_value = 0.0, 1.0
    else:
        statistic, p_value = map(float, stats.friedmanchisquare(*values))
    return pl.DataFrame({"statistic": statistic, "p_value": p_value, "num_backbones": k, "num_tasks": n})


def critical_difference(num_backbones: int, num_tasks: int, *, level: float = 0.95) -> float:
    """Nemenyi's critical difference: larger differences of mean ranks are significant at 1 − `level`.

    Source: Demšar, JMLR 2006: q · √(k (k + 1) / 6n), where q is the studentised range's quantile over √2.

    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    q = float(stats.studentized_range.ppf(level, num_backbones, np.inf)) / math.sqrt(2)
    return q * math.sqrt(num_backbones * (num_backbones + 1) / (6 * num_tasks))


def indistinct_groups(scores: pl.DataFrame, *, level: float = 0.95) -> pl.DataFrame:
    """Bars of a critical-difference diagram: group, backbones (best first), best_rank, worst_rank.

    A group is a maximal run of two or more backbones whose mean ranks lie within one critical difference.
    """
    backbones, tasks, values = oriented(scores)
    mean_ranks = stats.rankdata(-values, axis=0).mean(axis=1)
    order = np.lexsort((np.array(backbones), mean_ranks))
    ranks = mean_ranks[order]
    reach = critical_difference(len(backbones), len(tasks), level=level)
    ends = np.searchsorted(ranks, ranks + reach, side="right")
    starts = [i for i, end in enumerate(ends) if end - i > 1 and (i == 0 or end > ends[i - 1])]
    return pl.DataFrame(
        {
            "group": range(1, len(starts) + 1),
            "backbones": [[backbones[b] for b in order[i : ends[i]]] for i in starts],
            "best_rank": [float(ranks[i]) for i in starts],
            "worst_rank": [float(ranks[ends[i] - 1]) for i in starts],
        },
        schema={
            "group": pl.Int64,
            "backbones": pl.List(pl.String),
            "best_rank": pl.Float64,
            "worst_rank": pl.Float64,
        },
    )


def ranking_agreement(rankings: pl.DataFrame) -> pl.DataFrame:
    """Kendall's τ-b between the rankings of `alternative_rankings`: one, other, kendall_tau, same_best."""
    names = [name for name in rankings.columns if name.startswith("rank_")]
    rows = []
    for one, other in combinations(names, 2):
        a, b = rankings[one].to_numpy(), rankings[other].to_numpy()
        same_best = set(np.flatnonzero(a == a.min())) == set(np.flatnonzero(b == b.min()))
        rows.append((one.removeprefix("rank_"), other.removeprefix("rank_"), kendall(a, b), same_best))
    schema = {"one": pl.String, "other": pl.String, "kendall_tau": pl.Float64, "same_best": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")
