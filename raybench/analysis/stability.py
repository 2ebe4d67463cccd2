"""How much a ranking leans on single tasks: leave one out, and the few tasks that foretell the rest.

All read a complete table of scores: backbone, task, direction ("min" or "max"), value.
"""

from itertools import combinations
from math import comb

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from raybench.analysis.scores import require_complete
from raybench.analysis.zscores import zscore_within_task
from raybench.core.errors import EmptyInputError

Array = NDArray[np.float64]
MAX_SUBSETS = 20_000
"""Beyond this many subsets the search is greedy."""


def _zscore_table(scores: pl.DataFrame) -> tuple[list[str], list[str], Array]:
    """Backbones, tasks (both sorted) and z-scores, [backbones, tasks]."""
    require_complete(scores)
    backbones, tasks = (scores[name].unique().sort().to_list() for name in ("backbone", "task"))
    zscores = zscore_within_task(scores).sort("backbone", "task")["zscore"].to_numpy()
    return backbones, tasks, zscores.reshape(len(backbones), len(tasks))


def _ranks(mean_zscores: Array) -> Array:
    return np.asarray(stats.rankdata(-mean_zscores.round(12)))


def _tau(one: Array, other: Array) -> float | None:
    """Kendall's τ-b; None where one side ties everybody."""
    one, other = one.round(12), other.round(12)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(stats.kendalltau(one, other).statistic)


def leave_one_task_out(scores: pl.DataFrame) -> pl.DataFrame:
    """One row per task left out.

    Columns: task, kendall_tau (against all tasks), best, num_moved, largest_move (places).

    `best` is who leads without the task; the first by name where several do.

    Raises:
        EmptyInputError: if there are fewer than two tasks.
    """
    backbones, tasks, zscores = _zscore_table(scores)
    if len(tasks) < 2:
        raise EmptyInputError("leaving one task out needs two tasks or more, got one.")
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
    """Per backbone its rank over all tasks, and the best and worst when any one task is left out."""
    backbones, tasks, zscores = _zscore_table(scores)
    if len(tasks) < 2:
        raise EmptyInputError("leaving one task out needs two tasks or more, got one.")
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
    """The subset of each size whose mean z-score best foretells the ranking over the tasks *outside* it.

    Columns: num_tasks, tasks (list), kendall_tau (with the rest; what one would gain from measuring only
    these), tau_all (with all tasks, which hold the subset itself and so flatter it), is_exhaustive. Up to
    MAX_SUBSETS subsets of a size are all tried; beyond that the best subset one smaller is extended. The
    best of many is chosen on these very backbones, so expect somewhat less on new ones.

    Raises:
        EmptyInputError: if there are fewer than two tasks.
    """
    _, tasks, zscores = _zscore_table(scores)
    num_tasks = len(tasks)
    if num_tasks < 2:
        raise EmptyInputError("a predictive subset needs two tasks or more, got one.")
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
