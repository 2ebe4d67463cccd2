"""From stored predictions to bootstrap replicates: per-example correctness, paired over backbones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raybench.analysis.bootstrap import Replicates, replicate
from raybench.artifacts import per_query_of
from raybench.results import predictions_file, predictions_of

Array = NDArray[np.float64]


def redrawn(
    scores: pl.DataFrame, measurements: pl.DataFrame, storages: Sequence[Path], *, num_replicates: int = 1000
) -> tuple[Replicates | None, str]:
    """Bootstrap replicates of the tasks that every backbone has, and a sentence that says what was redrawn.

    Per example where all backbones kept values of the same test examples whose mean is the score; else the
    scores of the seeds alone. None where neither varies.

    Args:
        scores: columns read: backbone, task, metric, direction, value.
        measurements: the measurement table.
        storages: where predictions lie.
        num_replicates: how often to redraw.
    """
    backbones = scores["backbone"].unique().sort().to_list()
    per_example: dict[str, Array] = {}
    only_seeds: list[str] = []
    for (task,), group in sorted(scores.group_by("task")):
        if group.height < len(backbones):
            continue
        rows = measurements.filter(
            task=task, split="test", condition="clean", metric=group["metric"][0]
        ).unique(["backbone", "seed"], maintain_order=True)
        sign = -1.0 if group["direction"][0] == "min" else 1.0
        found = _by_example(rows, backbones, storages)
        if found is None:
            only_seeds.append(str(task))
            found = _by_seed(rows, backbones)
        per_example[str(task)] = sign * found
    if not per_example:
        return None, "No task has a score of every backbone, so no interval can be given."
    varies = any(array.shape[1] > 1 or array.shape[2] > 1 for array in per_example.values())
    if len(backbones) < 2 or not varies:
        return None, (
            "There is only one backbone, so no order to be unsure of."
            if len(backbones) < 2
            else "Neither test examples nor several seeds were kept, so no interval can be given."
        )
    return replicate(per_example, backbones, num_replicates=num_replicates), _said(
        list(per_example), only_seeds, num_replicates
    )


def _said(tasks: list[str], only_seeds: list[str], num_replicates: int) -> str:
    what = "test examples (the same draw for all backbones) and seeds"
    said = (
        f"Intervals hold 95 % of {num_replicates:,} bootstrap replicates that redraw "
        f"{what if len(only_seeds) < len(tasks) else 'seeds'}; tasks and backbones stay as they are."
    )
    if only_seeds:
        said += f" Seeds only, because values per example are not at hand: {', '.join(only_seeds)}."
    return said


def _by_seed(rows: pl.DataFrame, backbones: list[str]) -> Array:
    """[backbones, seeds, 1]; the fewest seeds that any backbone has."""
    values = [rows.filter(backbone=name).sort("seed")["value"].to_numpy() for name in backbones]
    fewest = min(len(found) for found in values)
    return np.stack([found[:fewest] for found in values])[:, :, None]


def _by_example(rows: pl.DataFrame, backbones: list[str], storages: Sequence[Path]) -> Array | None:
    """[backbones, seeds, n]; None unless all have one set of examples and their means are the scores."""
    found: dict[str, list[Array]] = {name: [] for name in backbones}
    common: tuple[str, ...] | None = None
    for row in rows.sort("backbone", "seed").iter_rows(named=True):
        kept = _one_trial(row["experiment"], row["trial_id"], row["metric"], storages)
        if kept is None or not np.isclose(np.nanmean(kept[1]), row["value"], atol=1e-6):
            return None
        ids, values = kept
        common = ids if common is None else common
        if ids != common:
            return None
        found[row["backbone"]].append(values)
    if len({len(seeds) for seeds in found.values()}) != 1:
        return None
    array = np.stack([np.stack(seeds) for seeds in found.values()])
    is_measured = np.isfinite(array).all(axis=(0, 1))  # Queries without positives have no value.
    return array[:, :, is_measured] if is_measured.any() else None


def _one_trial(
    experiment: str, trial_id: str, metric: str, storages: Sequence[Path]
) -> tuple[tuple[str, ...], Array] | None:
    """Example ids in order, and the metric's value of each; None if they were not kept."""
    for storage in storages:
        queries = per_query_of(storage, experiment, trial_id, "test", metric)
        if queries is not None:
            return tuple(map(str, range(len(queries)))), queries
        if metric == "accuracy" and predictions_file(storage, experiment, trial_id).is_file():
            test = predictions_of(storage, experiment, trial_id).get("test")
            if test is None:
                return None
            ids, targets, logits = test
            order = np.argsort(np.array(ids))
            is_right = (logits.argmax(axis=1) == targets).astype(np.float64)
            return tuple(ids[i] for i in order), is_right[order]
    return None
