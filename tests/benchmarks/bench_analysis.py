"""Ranking a million measurements against pandas, and the bootstrap's seconds."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from raybench.analysis.bootstrap import example_means, replicate
from raybench.analysis.intervals import ranking_intervals, win_probabilities
from raybench.analysis.scores import select_scores
from raybench.analysis.zscores import overall, rank_within_task, zscore_within_task
from raybench.core.records import Measurement
from raybench.report.gather.sources import read_results
from raybench.report.render.terminal import rank_text
from raybench.store.measurements import write_measurements
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio


def measure(quick: bool) -> list[Ratio]:
    return [_ranked(quick), _bootstrapped(quick), _from_files(quick)]


def _measurements(num_backbones: int, num_tasks: int, num_seeds: int) -> pl.DataFrame:
    shape = (num_backbones, num_tasks, num_seeds)
    backbone, task, seed = (index.ravel() for index in np.indices(shape))
    return pl.DataFrame(
        {
            "experiment": "e",
            "backbone": np.char.add("backbone-", backbone.astype(str)),
            "task": np.char.add("knn@dataset-", task.astype(str)),
            "split": "test",
            "metric": "accuracy",
            "condition": "clean",
            "seed": seed,
            "value": np.random.default_rng(0).random(seed.size),
        }
    )


def _with_raybench(measurements: pl.DataFrame) -> pl.DataFrame:
    return select_scores(measurements).pipe(zscore_within_task).pipe(rank_within_task).pipe(overall)


def _with_pandas(measurements: pd.DataFrame) -> pd.DataFrame:
    fitting = measurements[(measurements["split"] == "test") & (measurements["condition"] == "clean")]
    scores = fitting.groupby(["backbone", "task"], as_index=False)["value"].mean()
    by_task = scores.groupby("task")["value"]
    scores["zscore"] = (scores["value"] - by_task.transform("mean")) / by_task.transform("std")
    scores["rank"] = by_task.rank(ascending=False)
    means = scores.groupby("backbone", as_index=False)[["zscore", "rank"]].mean()
    return means.sort_values("zscore", ascending=False)


def _ranked(quick: bool) -> Ratio:
    measurements = _measurements(50 if quick else 500, 20 if quick else 200, 10)
    in_pandas = pd.DataFrame(measurements.to_dict(as_series=False))
    ours, theirs = _with_raybench(measurements), _with_pandas(in_pandas)
    is_same = ours["backbone"].to_list() == theirs["backbone"].to_list() and np.allclose(
        ours["mean_zscore"].to_numpy(), theirs["zscore"].to_numpy()
    )
    started = time.perf_counter()
    _with_raybench(measurements)
    wall = time.perf_counter() - started
    spent = in_turn(
        {
            "raybench": lambda: _with_raybench(measurements),
            "pandas": lambda: _with_pandas(in_pandas),
        },
        rounds=3 if quick else 7,
    )
    return Ratio(
        name=f"{measurements.height:,} measurements ranked",
        ours="select_scores, z-scores, ranks, overall",
        theirs="the same with pandas, without its checks",
        target=1.0,
        measured=spent["raybench"] / spent["pandas"],
        gate="same order and z-scores" if is_same else "another ranking",
        is_gate_passed=is_same,
        note=f"{spent['raybench']:.2f} s and {spent['pandas']:.2f} s of CPU; {wall:.2f} s on the wall.",
        numbers={**{f"{side}_cpu_seconds": value for side, value in spent.items()}, "wall_seconds": wall},
    )


def _bootstrapped(quick: bool) -> Ratio:
    """Seconds on the wall over the 30 that issue 6 allows."""
    num_backbones, num_tasks, n = (10, 4, 2_000) if quick else (50, 20, 10_000)
    rng = np.random.default_rng(0)
    per_example = {
        f"t{task}": example_means(rng.random((num_backbones, n)) < 0.7) for task in range(num_tasks)
    }
    started = time.perf_counter()
    replicates = replicate(per_example, [f"b{i}" for i in range(num_backbones)])
    ranking_intervals(replicates)
    win_probabilities(replicates)
    wall = time.perf_counter() - started
    errors = replicates.resampled.std(axis=0) / np.sqrt(0.7 * 0.3 / n)
    is_binomial = bool(abs(errors.mean() - 1) < 0.02)
    return Ratio(
        name=f"bootstrap, 1,000 replicates of {num_backbones} × {num_tasks} × {n:,}",
        ours="intervals, ranks, P(A beats B)",
        theirs="30 s",
        target=1.0,
        measured=wall / 30,
        gate="standard errors are binomial" if is_binomial else "other standard errors",
        is_gate_passed=is_binomial,
        note=f"{wall:.1f} s on the wall.",
        numbers={"wall_seconds": wall},
    )


def _from_files(quick: bool) -> Ratio:
    """`raybench rank` on a storage with one file per trial, as a run leaves it, against 1 ms per file."""
    num_backbones, num_tasks, num_seeds = (10, 4, 5) if quick else (50, 20, 10)
    rng = np.random.default_rng(0)
    origin = {"checkpoint_digest": "c", "dataset_fingerprint": "d", "num_params": 1}
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        for backbone, task, seed in np.ndindex(num_backbones, num_tasks, num_seeds):
            measured = Measurement(
                experiment="e",
                backbone=f"backbone-{backbone}",
                task=f"knn@dataset-{task}",
                split="test",
                metric="accuracy",
                value=float(rng.random()),
                num_examples=100,
                seed=seed,
            )
            write_measurements(storage, "e", f"{backbone}-{task}-{seed}", [measured], origin)
        started = time.perf_counter()
        text = rank_text(read_results([storage]))
        wall = time.perf_counter() - started
    num_files = num_backbones * num_tasks * num_seeds
    is_whole = f"{num_backbones} backbones on {num_tasks} tasks" in text
    return Ratio(
        name=f"rank from {num_files:,} files",
        ours="read, unite, rank and write out",
        theirs="1 ms per file",
        target=1.0,
        measured=wall / (num_files / 1000),
        gate="all are ranked" if is_whole else "some are missing",
        is_gate_passed=is_whole,
        note=f"{wall:.1f} s on the wall.",
        numbers={"wall_seconds": wall},
    )


if __name__ == "__main__":
    for found in measure(quick=False):
        print(f"{found.name}: {found.measured:.3g} (≤ {found.target:g}); {found.gate}; {found.note}")
