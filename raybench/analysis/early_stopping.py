"""Cost of early stopping: estimated regret where trials were stopped, exact replay where none was.

All functions read learning curves of search trials on val. The final score of a stopped trial is unknown; it
is estimated from the gains of the finished trials of its pair after the same epoch.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raybench.analysis.correlation import kendall
from raybench.core.errors import EmptyInputError

KEY = ["backbone", "task"]
ETA = 4
"""Reduction factor of `raybench run`: one of ETA trials continues at every rung."""

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
"""One row per search trial and epoch; `value` is the objective on val after the epoch."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """Best score so far after each epoch of a trial, higher is better; shapes [e]."""

    index: int
    is_stopped: bool
    epochs: NDArray[np.int64]
    best: NDArray[np.float64]

    def at(self, epoch: int) -> float:
        """Best score up to an epoch, or up to the trial's last epoch if it ended before."""
        num_epochs = int(np.searchsorted(self.epochs, epoch, side="right"))
        return float(self.best[max(num_epochs - 1, 0)])

    @property
    def final(self) -> float:
        return float(self.best[-1])

    @property
    def length(self) -> int:
        return int(self.epochs[-1])


def stopping_regret(learning: pl.DataFrame) -> pl.DataFrame:
    """Estimate per pair how much better its stopped trials might have become.

    Columns: backbone, task, num_trials, num_stopped, epochs_saved (share, compared with running all trials as
    long as the longest), best (of all trials), expected_regret, largest_regret, probability.

    For every finished trial we assume that the stopped trials would have gained as much as this one did after
    the same epoch; the regret is how far the best of them then exceeds the best trial. `expected_regret` is
    the mean over finished trials, `largest_regret` the maximum, `probability` the share above 0; all null if
    no trial finished. Trials that learn more slowly than every finished one make this an underestimate.

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
    """Replay successive halving on every pair whose trials all ran to their end.

    Columns: backbone, task, num_trials, best (without stopping), best_kept, regret (≥ 0), epochs_saved
    (share), rank_agreement (Kendall's τ-b between the order at the first rung and at the end; null if either
    is all ties).

    Rungs are those of `early_stopping: asha`: at max_epochs / eta² (at least 1), then eta times as far, the
    best ⌈n / eta⌉ continue. The replay is synchronous; ASHA decides without waiting for all trials and keeps
    more of them, so its regret is usually smaller.

    Args:
        learning: columns as LEARNING.
        eta: reduction factor, at least 2.

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
            continued = ordered[: math.ceil(len(kept) / eta)]
            used += sum(min(rung, c.length) for c in ordered[len(continued) :])
            kept, rung = continued, rung * eta
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
                "rank_agreement": kendall(first, [curve.final for curve in curves]),
            }
        )
    if not rows:
        raise EmptyInputError(
            "no pair has 2 trials or more that ran 2 epochs or more and were not stopped, so early stopping "
            "cannot be replayed."
        )
    return pl.DataFrame(rows, infer_schema_length=None).sort(KEY)


def _by_pair(learning: pl.DataFrame) -> list[tuple[tuple[object, ...], list[_Curve], float]]:
    """Backbone and task, curves by index, and the sign that makes higher better, per pair, sorted."""
    pairs = []
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
        pairs.append((key, curves, sign))
    return pairs
