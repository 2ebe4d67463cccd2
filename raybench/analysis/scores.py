"""Scores from measurements: one value per backbone and task, averaged over seeds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.tasks import PROTOCOLS, parse_task, protocol_of
from raybench.core.errors import (
    DuplicateMeasurementError,
    EmptyInputError,
    MissingMeasurementError,
    NonFiniteMeasurementError,
)
from raybench.core.records import Split
from raybench.metrics import METRICS, ArrayMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIXED_POINT = 2.0**80
"""Values are summed as integer multiples of 2⁻⁸⁰, because float sums in another order would break ties."""
EXACT = (2.0**-27, 2.0**36)
"""Magnitudes between which floats are integer multiples of 2⁻⁸⁰ and a sum of 1,000 fits into 128 bits."""
SIGN = pl.when(pl.col("direction") == "min").then(-1.0).otherwise(1.0)
"""Factor that makes higher values better."""


def objective_of(task: str) -> str:
    """The metric that a task is ranked by, unless another is requested.

    Raises:
        UnknownNameError: if the task's protocol is not in the catalogue.

    >>> objective_of("knn@digits")
    'accuracy'
    """
    return protocol_of(parse_task(task)).objective


def how_to_measure(metric: str) -> str:
    """Advice for error messages: how to obtain a metric that finished trials lack.

    >>> how_to_measure("ood_auroc")
    "add the evaluator 'ood' to the spec and run it again: finished trials are only evaluated"
    """
    if isinstance(METRICS[metric], ArrayMetric):
        return f"rank tasks whose predictions are stored (`--task`), from which {metric} is computed"
    for name, evaluator in EVALUATORS.items():
        if metric in evaluator.metrics:
            return (
                f"add the evaluator {name!r} to the spec and run it again: finished trials are only evaluated"
            )
    for name, protocol in PROTOCOLS.items():
        if metric in protocol.metrics:
            return f"run the experiment under another name: {name} measures {metric} only while a trial runs"
    return f"install what measures {metric}: no protocol and no evaluator here does"


def select_scores(
    measurements: pl.DataFrame,
    *,
    metric: str | None = None,
    split: Split = "test",
    condition: str = "clean",
) -> pl.DataFrame:
    """Select one metric per task and average over seeds, one row per backbone and task.

    Columns: backbone, task, metric, direction, value, num_seeds.

    Args:
        measurements: the measurement table.
        metric: for every task; None uses each task's objective.
        split: of the measurements.
        condition: of the measurements.

    Raises:
        EmptyInputError: if no measurement fits.
        UnknownNameError: if the metric is not registered.
        NonFiniteMeasurementError: if a value is missing, NaN or infinite.
        DuplicateMeasurementError: if two experiments measured one thing and disagree.
    """
    if metric is not None:
        METRICS[metric]  # Raises with a suggestion for a misspelled name.
    metrics = {task: metric or objective_of(task) for task in measurements["task"].unique()}
    fitting = measurements.filter(_is_metric_of_task(metrics), split=split, condition=condition)
    if fitting.is_empty():
        remedy = how_to_measure(metric) if metric and measurements.height else "run the experiment first"
        raise EmptyInputError(
            f"no measurement of {metric or 'an objective'} on {split} ({condition}) in this table; "
            f"{remedy}, or ask for another metric."
        )
    scores = fitting.pipe(require_finite).pipe(agree_across_experiments).pipe(mean_over_seeds)
    metric_of_task = pl.DataFrame(
        [(task, name, METRICS[name].direction) for task, name in metrics.items()],
        schema={"task": pl.String, "metric": pl.String, "direction": pl.String},
        orient="row",
    )
    return scores.join(metric_of_task, on="task", maintain_order="left").select(
        "backbone", "task", "metric", "direction", "value", "num_seeds"
    )


def _is_metric_of_task(metrics: Mapping[str, str]) -> pl.Expr:
    """Whether a row's metric is the one selected for its task."""
    by_metric: dict[str, list[str]] = {}
    for task, name in metrics.items():
        by_metric.setdefault(name, []).append(task)
    if len(by_metric) == 1:
        return pl.col("metric") == next(iter(by_metric))
    is_selected = pl.lit(value=False)
    for name, tasks in by_metric.items():
        is_selected |= (pl.col("metric") == name) & pl.col("task").is_in(tasks)
    return is_selected


def require_finite(measurements: pl.DataFrame) -> pl.DataFrame:
    """Return `measurements` unchanged if all values are finite; polars would rank NaN above every number.

    Raises:
        NonFiniteMeasurementError: if one is not; the message has the first.
    """
    bad = measurements.filter(~pl.col("value").is_finite().fill_null(False))
    if bad.is_empty():
        return measurements
    first = bad.row(0, named=True)
    raise NonFiniteMeasurementError(
        f"{first['metric']} of {first['backbone']!r} on {first['task']!r} is {first['value']}; "
        "a ranking needs finite values, leave the row out and rank with `--allow-missing`."
    )


def agree_across_experiments(measurements: pl.DataFrame) -> pl.DataFrame:
    """Keep one row per backbone, task, metric and seed; experiments that measured the same must agree.

    Raises:
        DuplicateMeasurementError: if two experiments have different values.
    """
    if (measurements["experiment"] == measurements["experiment"][0]).all():
        return measurements  # Unique within an experiment; the check takes seconds on 1 M rows.
    key = ["backbone", "task", "metric", "seed"]
    distinct = measurements.unique([*key, "value"], maintain_order=True)
    conflicts = distinct.filter(pl.struct(key).is_duplicated())
    if conflicts.is_empty():
        return distinct
    first = conflicts.sort(*key, "experiment").row(0, named=True)
    is_same = pl.all_horizontal(pl.col(name) == first[name] for name in key)
    rivals = conflicts.filter(is_same)["experiment"].sort()
    raise DuplicateMeasurementError(
        f"experiments {' and '.join(map(repr, rivals))} found different {first['metric']} of "
        f"{first['backbone']!r} on {first['task']!r} (seed {first['seed']}); choose one with `--experiment`."
    )


def mean_over_seeds(measurements: pl.DataFrame) -> pl.DataFrame:
    """Average over seeds and add `num_seeds`; the mean is independent of the order of rows, to the last bit.

    Args:
        measurements: one row per backbone, task and seed; columns read: these and value.
    """
    pairs, value = measurements.lazy().group_by("backbone", "task"), pl.col("value")
    if measurements.select((value.abs().is_between(*EXACT) | (value == 0)).all()).item():
        total = (value * FIXED_POINT).cast(pl.Int128).sum()
        sums = pairs.agg(total, num_seeds=pl.len()).collect(engine="streaming")
        means = sums.with_columns(value.cast(pl.Float64) / FIXED_POINT / pl.col("num_seeds"))
    else:  # As lists, because the optimiser drops a sort before a mean.
        lists = pairs.agg(value.sort(), num_seeds=pl.len()).collect()
        means = lists.with_columns(value.list.mean())
    # As enums: sorting a hundred thousand strings would take longer than everything else here.
    return means.sort(
        pl.col(name).cast(pl.Enum(means[name].unique().sort())) for name in ("backbone", "task")
    )


def to_matrix(scores: pl.DataFrame, column: str) -> "tuple[list[str], list[str], NDArray[np.float64]]":
    """Backbones, tasks (both sorted) and a column of a complete table, [backbones, tasks]."""
    backbones, tasks = (scores[name].unique().sort().to_list() for name in ("backbone", "task"))
    values = scores.sort("backbone", "task")[column].to_numpy()
    return backbones, tasks, values.reshape(len(backbones), len(tasks))


def missing_pairs(scores: pl.DataFrame, expected: pl.DataFrame | None = None) -> pl.DataFrame:
    """Pairs (backbone, task) without a score, sorted.

    Every backbone in `scores` is expected on every task in `scores`.

    Args:
        scores: columns read: backbone, task.
        expected: further pairs that should have a score, columns backbone and task.
    """
    key = ["backbone", "task"]
    pairs = scores.select(key) if expected is None else pl.concat([scores.select(key), expected.select(key)])
    backbones, tasks = pairs.select("backbone").unique(), pairs.select("task").unique()
    return backbones.join(tasks, how="cross").join(scores, on=key, how="anti").sort(key)


def require_complete(
    scores: pl.DataFrame, expected: pl.DataFrame | None = None, *, remedy: str = "run them again"
) -> pl.DataFrame:
    """Return `scores` unchanged if every backbone has every task.

    Mean ranks over different sets of tasks are not comparable.

    Args:
        scores: columns read: backbone, task.
        expected: pairs that must have a score, as for `missing_pairs`.
        remedy: what to do about missing pairs, in the imperative.

    Raises:
        MissingMeasurementError: with the pairs that have no score.
    """
    missing = missing_pairs(scores, expected)
    if missing.is_empty():
        return scores
    names = [f"{backbone!r} on {task!r}" for backbone, task in missing.head(5).iter_rows()]
    more = f" and {missing.height - 5} more" if missing.height > 5 else ""
    raise MissingMeasurementError(
        f"{missing.height} of {missing.height + scores.height} pairs have no score: "
        f"{', '.join(names)}{more}; {remedy}, or rank what there is with "
        "`--allow-missing`."
    )
