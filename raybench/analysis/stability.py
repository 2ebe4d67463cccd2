"""Stability of a ranking: leave-one-task-out, and the few tasks that best predict the ranking over the rest.

All functions read a complete table of scores: backbone, task, direction ("min" or "max"), value.
"""

from itertools import combinations
from math import comb

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from raybench.analysis.correlation import kendall
from raybench.analysis.scores import require_complete, to_matrix
from raybench.analysis.zscores import zscore_within_task
from raybench.core.errors import EmptyInputError

Array = NDArray[np.float64]
MAX_SUBSETS = 20_000
"""With more subsets than this of one size the search is greedy."""


def _zscore_table(scores: pl.DataFrame) -> tuple[list[str], list[str], Array]:
    """Backbones, tasks (both sorted) and z-scores, [backbones, tasks]; two tasks or more.

    Raises:
        EmptyInputError: if there are fewer than two tasks.
        MissingMeasurementError: if a pair has no score.
    """
    backbones, tasks, zscores = to_matrix(zscore_within_task(require_complete(scores)), "zscore")
    if len(tasks) < 2:
        raise EmptyInputError("the stability of a ranking needs two tasks or more, got one.")
    return backbones, tasks, zscores


def _ranks(mean_zscores: Array) -> Array:
    return np.asarray(stats.rankdata(-mean_zscores.round(12)))


def _tau(one: Array, other: Array) -> float | None:
    return kendall(one.round(12), other.round(12))


def leave_one_task_out(scores: pl.DataFrame) -> pl.DataFrame:
    """Compare the ranking without each task with that over all tasks, one row per task left out.

    Columns: task, kendall_tau (with the ranking over all tasks), best (without the task; the first by name
    of several), num_moved (backbones with another rank), largest_move (ranks).

    Raises:
        EmptyInputError: if there are fewer than two tasks.
        MissingMeasurementError: if a pair has no score.
    """
    backbones, tasks, zscores = _zscore_table(scores)
    whole = zscores.mean(axis=1)
    rows = []
    for column, task in enumerate(tasks):
        rest = np.delete(zscores, column, axis=1).mean(axis=1)
        moves = np.abs(_ranks(rest) - _ranks(whole))
        best = backbones[int(_ranks(rest).argmin())]
        rows.append((task, _tau(rest, whole), best, int((moves > 0).sum()), float(moves.max())))
    schema = {
        "task": pl.String,
        "kendall_tau": pl.Float64,
        "best": pl.String,
        "num_moved": pl.Int64,
        "largest_move": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def rank_ranges(scores: pl.DataFrame) -> pl.DataFrame:
    """Per backbone the rank over all tasks, and the best and worst rank with any one task left out.

    Raises:
        EmptyInputError: if there are fewer than two tasks.
        MissingMeasurementError: if a pair has no score.
    """
    backbones, tasks, zscores = _zscore_table(scores)
    ranks = np.stack([_ranks(np.delete(zscores, t, axis=1).mean(axis=1)) for t in range(len(tasks))])
    return pl.DataFrame(
        {
            "backbone": backbones,
            "rank": _ranks(zscores.mean(axis=1)),
            "best_rank": ranks.min(axis=0),
            "worst_rank": ranks.max(axis=0),
        }
    ).sort("rank", "backbone")


def predictive_tasks(scores: pl.DataFrame, *, max_tasks: int = 3) -> pl.DataFrame:
    """Find the subset of each size whose mean z-score best predicts the ranking over the tasks *outside* it.

    Columns: num_tasks, tasks (list), kendall_tau (with the ranking over the other tasks), tau_all (with the
    ranking over all tasks, too high because they include the subset), is_exhaustive. All subsets of a size
    are tried if there are at most MAX_SUBSETS; otherwise the best subset one smaller is extended. The subset
    is selected on these backbones, so expect lower values on new ones.

    Raises:
        EmptyInputError: if there are fewer than two tasks.
        MissingMeasurementError: if a pair has no score.
    """
    _, tasks, zscores = _zscore_table(scores)
    num_tasks = len(tasks)
    whole, rows = zscores.mean(axis=1), []
    chosen: tuple[int, ...] = ()
    for size in range(1, min(max_tasks, num_tasks - 1) + 1):
        is_exhaustive = comb(num_tasks, size) <= MAX_SUBSETS
        subsets = (
            list(combinations(range(num_tasks), size))
            if is_exhaustive
            else [tuple(sorted((*chosen, t))) for t in range(num_tasks) if t not in chosen]
        )
        taus = [_tau_with_rest(zscores, subset) for subset in subsets]
        best = int(np.argmax([-2.0 if tau is None else tau for tau in taus]))
        chosen = subsets[best]
        tau_all = _tau(zscores[:, list(chosen)].mean(axis=1), whole)
        rows.append((size, [tasks[t] for t in chosen], taus[best], tau_all, is_exhaustive))
    names = ["num_tasks", "tasks", "kendall_tau", "tau_all", "is_exhaustive"]
    return pl.DataFrame(rows, schema=names, orient="row").cast(
        {"kendall_tau": pl.Float64, "tau_all": pl.Float64}
    )


def _tau_with_rest(zscores: Array, subset: tuple[int, ...]) -> float | None:
    inside = zscores[:, list(subset)].mean(axis=1)
    return _tau(inside, np.delete(zscores, list(subset), axis=1).mean(axis=1))
