"""What stopping trials early costs: estimated where trials were stopped, known where none was.

Learning curves of search trials come in, on val. What a stopped trial would have reached is never known; it
can be estimated from what the finished trials of its pair still gained after the same epoch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raybench.core.errors import EmptyInputError

KEY = ["backbone", "task"]
ETA = 4
"""One of ETA goes on at every rung: the reduction factor that `raybench run` uses."""

LEARNING = pl.Schema(
    {
        "backbone": pl.String,
        "task": pl.String,
        "direction": pl.String,
        "index": pl.Int64,
        "is_stopped": pl.Boolean,
        "epoch": pl.Int64,
        "value": pl.Float64,
    }
)
"""A row per search trial and epoch; `value` is the objective on val after it."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """A trial's best so far after each of its epochs, higher is better; shapes [e]."""

    index: int
    is_stopped: bool
    epochs: NDArray[np.int64]
    best: NDArray[np.float64]

    def at(self, epoch: int) -> float:
        """Best up to that epoch; the end's where the trial ended before."""
        place = int(np.searchsorted(self.epochs, epoch, side="right"))
        return float(self.best[max(place - 1, 0)])

    @property
    def final(self) -> float:
        return float(self.best[-1])

    @property
    def length(self) -> int:
        return int(self.epochs[-1])


def stopping_regret(learning: pl.DataFrame) -> pl.DataFrame:
    """Per pair with stopped trials: what better end they might have come to.

    Columns: backbone, task, num_trials, num_stopped, epochs_saved (share, against all trials as long as the
    longest), best (of all trials), expected_regret, largest_regret, probability.

    Every finished trial that was followed beyond the stopping epochs is asked in turn: had the stopped trials
    still gained what this one gained after the same epoch, by how much would the best of them have beaten
    the best found? `expected_regret` is the mean of the answers, `largest_regret` their largest,
    `probability` the share of them above 0; all null if no trial finished. A trial that learns more slowly
    than every finished one would have gained more than this says, so it is a lower estimate.

    Args:
        learning: columns as LEARNING.
    """
    rows = []
    for key, curves, sign in _by_pair(learning):
        stopped = [curve for curve in curves if curve.is_stopped]
        finished = [curve for curve in curves if not curve.is_stopped]
        if not stopped:
            continue
        best = max(curve.final for curve in curves)
        regrets = [
            max(0.0, max(s.final + f.final - f.at(s.length) for s in stopped) - best) for f in finished
        ]
        longest = max(curve.length for curve in curves)
        rows.append(
            {
                **dict(zip(KEY, key, strict=True)),
                "num_trials": len(curves),
                "num_stopped": len(stopped),
                "epochs_saved": 1 - sum(c.length for c in curves) / (longest * len(curves)),
                "best": sign * best,
                "expected_regret": float(np.mean(regrets)) if regrets else None,
                "largest_regret": max(regrets) if regrets else None,
                "probability": float(np.mean(np.array(regrets) > 0)) if regrets else None,
            }
        )
    if not rows:
        raise EmptyInputError("no search trial was stopped early.")
    return pl.DataFrame(rows, infer_schema_length=None).sort(KEY)


def replay_halving(learning: pl.DataFrame, *, eta: int = ETA) -> pl.DataFrame:
    """Per pair whose trials all ran to their end: what successive halving would have cost. This is known.

    Columns: backbone, task, num_trials, best (found without stopping), best_kept, regret (≥ 0),
    epochs_saved (share), rank_agreement (Kendall's τ-b of the order at the first rung with the order at the
    end; null where one of them is all ties).

    Replayed synchronously with rungs as `early_stopping: asha` has them: at max_epochs / eta² (at least
    1), then
    eta times as far, the best ⌈n / eta⌉ go on. ASHA itself decides without waiting and keeps more, those
    that came
    early among them, so its regret is smaller or equal as a rule.

    Args:
        learning: columns as LEARNING.
        eta: one of how many goes on, at least 2.

    Raises:
        EmptyInputError: if no pair has 2 unstopped trials with 2 epochs or more.
    """
    rows = []
    for key, curves, sign in _by_pair(learning):
        longest = max(curve.length for curve in curves)
        if len(curves) < 2 or longest < 2 or any(curve.is_stopped for curve in curves):
            continue
        kept, used, rung = list(curves), 0, max(1, longest // eta**2)
        first = [curve.at(rung) for curve in curves]
        while rung < longest and len(kept) > 1:
            ordered = sorted(kept, key=lambda c: (-c.at(rung), c.index))
            going_on = ordered[: math.ceil(len(kept) / eta)]
            used += sum(min(rung, c.length) for c in ordered[len(going_on) :])
            kept, rung = going_on, rung * eta
        used += sum(curve.length for curve in kept)
        best, best_kept = max(c.final for c in curves), max(c.final for c in kept)
        rows.append(
            {
                **dict(zip(KEY, key, strict=True)),
                "num_trials": len(curves),
                "best": sign * best,
                "best_kept": sign * best_kept,
                "regret": best - best_kept,
                "epochs_saved": 1 - used / sum(curve.length for curve in curves),
                "rank_agreement": _kendall(first, [curve.final for curve in curves]),
            }
        )
    if not rows:
        raise EmptyInputError(
            "no pair has 2 trials or more that ran 2 epochs or more and were not stopped, so early stopping "
            "cannot be replayed."
        )
    return pl.DataFrame(rows, infer_schema_length=None).sort(KEY)


def _by_pair(learning: pl.DataFrame) -> list[tuple[tuple[object, ...], list[_Curve], float]]:
    """(backbone and task, curves by index, sign that makes higher better) of every pair, sorted."""
    found = []
    for key, group in learning.sort(*KEY, "index", "epoch").group_by(KEY, maintain_order=True):
        sign = -1.0 if group["direction"][0] == "min" else 1.0
        curves = [
            _Curve(
                index=int(trial["index"][0]),
                is_stopped=bool(trial["is_stopped"][0]),
                epochs=trial["epoch"].to_numpy(),
                best=np.maximum.accumulate(sign * trial["value"].to_numpy()),
            )
            for _, trial in group.group_by("index", maintain_order=True)
        ]
        found.append((key, curves, sign))
    return found


def _kendall(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's τ-b."""
    a, b = np.array(one), np.array(other)
    place = np.triu_indices(len(a), 1)
    da, db = np.sign(a[:, None] - a[None, :])[place], np.sign(b[:, None] - b[None, :])[place]
    scale = math.sqrt(float((da != 0).sum()) * float((db != 0).sum()))
    return float((da * db).sum()) / scale if scale else None
