"""From stored predictions to bootstrap replicates: per-example correctness, paired over backbones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.analysis.bootstrap import (
    Replicates,
    best_probabilities,
    ranking_intervals,
    replicate,
    score_intervals,
    win_probabilities,
)
from raybench.core.errors import EmptyInputError
from raybench.metrics import METRICS
from raybench.report.gather.criteria import CLEAN
from raybench.report.gather.sources import Results
from raybench.store.artifacts import per_query_of
from raybench.store.files import StoragePath, map_concurrently
from raybench.store.layout import predictions_file
from raybench.store.predictions import predictions_of

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """How sure a ranking by one rule is, as far as it can be told."""

    replicates: Replicates | None
    note: str
    """What was redrawn, or why nothing was."""
    rule: RankingRule = field(default_factory=RankingRule)
    weights: Array | None = None
    """Of the replicates' tasks; None: all the same."""
    negated: frozenset[str] = frozenset()
    """Tasks whose values have changed sign in the replicates, so that higher is better."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Task → smallest and largest value that its metric can have."""
    fixed: frozenset[str] = frozenset()
    """Tasks of which nothing could be redrawn; their scores have no interval, and move no other."""

    def ranking_intervals(self, *, top: int = 3) -> pl.DataFrame:
        """`bootstrap.ranking_intervals` by the rule."""
        drawn = self._drawn()
        return ranking_intervals(drawn, top=top, ddof=self.rule.ddof, weights=self.weights)

    def win_probabilities(self) -> pl.DataFrame:
        """`bootstrap.win_probabilities` by the rule."""
        return win_probabilities(self._drawn(), ddof=self.rule.ddof, weights=self.weights)

    def best_probabilities(self, names: Sequence[str]) -> pl.DataFrame:
        """`bootstrap.best_probabilities` by the rule."""
        return best_probabilities(self._drawn(), names, ddof=self.rule.ddof, weights=self.weights)

    def score_intervals(self) -> pl.DataFrame:
        """`bootstrap.score_intervals`, in the metric's own sign and bounds; null where nothing was redrawn.

        A step as wide as seeds differ knows no bounds; the replicates keep theirs, so that order is not lost.
        """
        is_turned = pl.col("task").is_in(list(self.negated))
        is_known = ~pl.col("task").is_in(list(self.fixed))
        found = score_intervals(self._drawn()).with_columns(
            value=pl.when(is_turned).then(-pl.col("value")).otherwise("value"),
            low=pl.when(is_turned).then(-pl.col("high")).otherwise("low"),
            high=pl.when(is_turned).then(-pl.col("low")).otherwise("high"),
        )
        lowest, highest = (
            pl.col("task").replace_strict({task: ends[i] for task, ends in self.bounds.items()}, default=end)
            for i, end in enumerate((-np.inf, np.inf))
        )
        return found.with_columns(pl.col("low", "high").clip(lowest, highest)).with_columns(
            pl.when(is_known).then(pl.col("low", "high", "standard_error")).otherwise(None)
        )

    def _drawn(self) -> Replicates:
        if self.replicates is None:
            raise EmptyInputError(self.note)
        return self.replicates


def estimate_uncertainty(
    scores: pl.DataFrame,
    results: Results,
    *,
    condition: str = CLEAN,
    rule: RankingRule | None = None,
    num_replicates: int = 1000,
) -> Uncertainty:
    """Bootstrap replicates of the tasks that every backbone has, and a sentence that says what was redrawn.

    Per example where all backbones kept values of the same test examples whose mean is the score; else the
    scores of the seeds alone. Nothing where neither varies.

    Args:
        scores: columns read: backbone, task, category, metric, direction, value.
        results: where they come from: the measurement table, and the storages that hold predictions.
        condition: under which the scores were measured; values per example are kept of `clean` only.
        rule: the ranking's.
        num_replicates: how often to redraw.
    """
    rule = rule or RankingRule()
    if results.published is not None:
        said = "The published table holds one number per cell and no test examples, so there is no interval."
        return Uncertainty(replicates=None, note=said, rule=rule)
    backbones = scores["backbone"].unique().sort().to_list()
    per_example: dict[str, list[Array]] = {}
    only_seeds: list[str] = []
    fixed: list[str] = []
    incomplete: list[str] = []
    turned: set[str] = set()
    for (task,), group in sorted(scores.group_by("task")):
        if group.height < len(backbones):
            incomplete.append(str(task))
            continue
        rows = results.measurements.filter(
            task=task, split="test", condition=condition, metric=group["metric"][0]
        ).unique(["backbone", "seed"], maintain_order=True)
        found = _by_example(rows, backbones, results.storages) if condition == CLEAN else None
        if found is None:
            found = _by_seed(rows, backbones)
            (only_seeds if any(np.ptp(seeds, axis=0).any() for seeds in found) else fixed).append(str(task))
        if group["direction"][0] == "min" and rule.turns_sign:
            turned.add(str(task))
        per_example[str(task)] = [-seeds for seeds in found] if str(task) in turned else found
    metrics = scores.select("task", "metric").unique().iter_rows()
    problem = _too_little(per_example, backbones, fixed)
    if problem:
        return Uncertainty(replicates=None, note=problem, rule=rule)
    return Uncertainty(
        replicates=replicate(per_example, backbones, num_replicates=num_replicates),
        note=_said(per_example, only_seeds, fixed, incomplete, num_replicates),
        rule=rule,
        weights=_weights(scores, sorted(per_example)) if rule.mean == "macro" else None,
        negated=frozenset(turned),
        bounds={task: METRICS[metric].bounds for task, metric in metrics},
        fixed=frozenset(fixed),
    )


def _too_little(per_example: Mapping[str, list[Array]], backbones: list[str], fixed: list[str]) -> str:
    if not per_example:
        return "No task has a score of every backbone, so no interval can be given."
    if len(backbones) < 2:
        return "There is only one backbone, so no order to be unsure of."
    if len(fixed) == len(per_example):
        return "Neither test examples nor seeds that differ were kept, so no interval can be given."
    return ""


def _weights(scores: pl.DataFrame, tasks: list[str]) -> Array:
    """Of each task, so that every category weighs the same, shape [tasks]."""
    category = dict(scores.select("task", "category").unique().iter_rows())
    sizes = [sum(category[other] == category[task] for other in tasks) for task in tasks]
    return 1.0 / np.array(sizes)


def _said(
    per_example: Mapping[str, list[Array]],
    only_seeds: list[str],
    fixed: list[str],
    incomplete: list[str],
    num_replicates: int,
) -> str:
    by_example = len(per_example) > len(only_seeds) + len(fixed)
    redrawn_of = ["redraw test examples (the same draw for all backbones)"] if by_example else []
    free = {task: values for task, values in per_example.items() if task not in fixed}
    alone = sorted(task for task, values in free.items() if all(len(seeds) == 1 for seeds in values))
    if len(alone) < len(free):
        redrawn_of.append("move scores as far as seeds differ")
    said = (
        f"Intervals hold 95 % of {num_replicates:,} bootstrap replicates that {' and '.join(redrawn_of)}; "
        "tasks and backbones stay as they are."
    )
    if alone:
        where = "" if len(alone) == len(free) else f" on {', '.join(alone)}"
        said += (
            f" There is one seed only{where}: what others would give is not known, and the doubt too small."
        )
    if only_seeds:
        said += f" Seeds only, because values per example are not at hand: {', '.join(only_seeds)}."
    if fixed:
        said += (
            f" Nothing to redraw, because the seeds agree and values per example are not at hand: "
            f"{', '.join(fixed)}; counted as exact, so that the doubt is understated."
        )
    if incomplete:
        said += f" Without the tasks that not every backbone has: {', '.join(incomplete)}."
    return said


def _by_seed(rows: pl.DataFrame, backbones: list[str]) -> list[Array]:
    """Per backbone [seeds, 1]."""
    return [rows.filter(backbone=name).sort("seed")["value"].to_numpy()[:, None] for name in backbones]


def _by_example(
    rows: pl.DataFrame, backbones: list[str], storages: Sequence[StoragePath]
) -> list[Array] | None:
    """Per backbone [seeds, n]; None unless all have one set of examples and their means are the scores."""

    def read(row: dict[str, Any]) -> tuple[tuple[str, ...], Array] | None:
        return _one_trial(row["experiment"], row["trial_id"], row["metric"], storages)

    found: dict[str, list[Array]] = {name: [] for name in backbones}
    common: tuple[str, ...] | None = None
    ordered = rows.sort("backbone", "seed").to_dicts()
    for row, kept in zip(ordered, map_concurrently(read, ordered, *storages), strict=True):
        if kept is None or not np.isclose(np.nanmean(kept[1]), row["value"], atol=1e-6):
            return None
        ids, values = kept
        common = ids if common is None else common
        if ids != common:
            return None
        found[row["backbone"]].append(values)
    arrays = [np.stack(seeds) for seeds in found.values()]
    is_measured = np.isfinite(np.concatenate(arrays)).all(axis=0)  # Queries without positives have no value.
    return [array[:, is_measured] for array in arrays] if is_measured.any() else None


def _one_trial(
    experiment: str, trial_id: str, metric: str, storages: Sequence[StoragePath]
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
