"""What to rank by: each task's objective, one metric, or a category (the headline metric of an evaluator)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import polars as pl

from raybench.analysis.scores import select_scores
from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.published import PublishedResults
from raybench.catalog.tasks import PROTOCOLS
from raybench.core import condition
from raybench.core.errors import EmptyInputError, UnknownNameError
from raybench.core.registry import suggest
from raybench.metrics import METRICS
from raybench.report.gather.parsed_columns import with_protocol
from raybench.report.gather.sources import PREFIX, Results

CLEAN = str(condition.CLEAN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """What to rank by; the defaults are each task's objective on clean images, over all tasks."""

    metric: str | None = None
    """Judge every task by this metric."""
    category: str | None = None
    """An evaluator: judge the tasks it has measured by its headline metric."""
    condition: str | None = None
    """Count measurements under this condition only; None: `clean`, or the category's own."""
    tasks: tuple[str, ...] = ()
    """Only these; `*` and `?` match as in file names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedScores:
    """The scores that a criterion selects."""

    scores: pl.DataFrame
    """Per backbone and task: metric, direction, value, num_seeds, category."""
    expected: pl.DataFrame
    """Pairs that should have a score, columns backbone and task."""
    condition: str
    """Condition of the images, e.g. `clean`."""


def select_by_criterion(results: Results, criterion: Criterion) -> SelectedScores:
    """Scores by one criterion.

    Raises:
        UnknownNameError: if there is no such metric, category, condition or task.
        EmptyInputError: if there is no such measurement.
        DuplicateMeasurementError: if two experiments contradict each other.
    """
    if results.published is not None:
        return _select_published(results.published, criterion)
    expected, measurements = results.expected, results.measurements
    if criterion.tasks:
        task_names = pl.concat([expected["task"], measurements["task"]]).unique().sort().to_list()
        is_selected = pl.col("task").is_in(matching_tasks(criterion.tasks, task_names))
        expected, measurements = expected.filter(is_selected), measurements.filter(is_selected)
    metric, condition = criterion.metric, criterion.condition
    if criterion.category is not None:
        metric, condition = headline_of(measurements, criterion.category, condition)
        has_metric = measurements.filter(metric=metric, condition=condition)["task"].unique()
        expected = expected.filter(pl.col("task").is_in(has_metric.implode()))
    scores = select_scores(measurements, metric=metric, condition=condition or CLEAN)
    return SelectedScores(scores=with_category(scores), expected=expected, condition=condition or CLEAN)


def _select_published(paper: PublishedResults, criterion: Criterion) -> SelectedScores:
    """A published table holds one metric per task, on clean images, and no evaluator's."""
    scores = pl.DataFrame(paper.scores).with_columns(num_seeds=pl.lit(1))
    name = f"{PREFIX}{paper.name}"
    metrics = scores["metric"].unique().sort().to_list()
    if criterion.metric is not None and METRICS[criterion.metric] and criterion.metric not in metrics:
        raise EmptyInputError(f"{name!r} holds {', '.join(metrics)} only, not {criterion.metric}.")
    if criterion.category is not None or criterion.condition not in (None, CLEAN):
        raise EmptyInputError(f"{name!r} holds measurements on clean images only, and none of an evaluator.")
    if criterion.metric is not None:
        scores = scores.filter(metric=criterion.metric)
    if criterion.tasks:
        task_names = scores["task"].unique().sort().to_list()
        scores = scores.filter(pl.col("task").is_in(matching_tasks(criterion.tasks, task_names)))
    return SelectedScores(scores=scores, expected=scores.select("backbone", "task"), condition=CLEAN)


def matching_tasks(patterns: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """The known tasks that a pattern matches.

    Raises:
        UnknownNameError: if a pattern matches none.

    >>> matching_tasks(["knn@*"], ["finetune@digits", "knn@digits"])
    ['knn@digits']
    """
    for pattern in patterns:
        if not any(fnmatchcase(task, pattern) for task in tasks):
            hint = suggest(pattern, tasks) or "."
            raise UnknownNameError(f"no task {pattern!r} was measured{hint} There are {', '.join(tasks)}.")
    return [task for task in tasks if any(fnmatchcase(task, pattern) for pattern in patterns)]


def with_category(scores: pl.DataFrame) -> pl.DataFrame:
    """Add the `category` of each task's protocol; `classification` for protocols outside the catalogue."""
    categories = {name: protocol.category for name, protocol in PROTOCOLS.items()}
    protocol = with_protocol(scores)["protocol"]
    return scores.with_columns(
        category=protocol.replace_strict(categories, default="classification", return_dtype=pl.String)
    )


def headline_of(measurements: pl.DataFrame, category: str, condition: str | None) -> tuple[str, str]:
    """(Metric, condition) of a category in this table.

    Args:
        measurements: the measurement table.
        category: name of an evaluator.
        condition: which of its conditions; None takes `clean` if the headline was measured on clean images,
            else the only one.

    Raises:
        UnknownNameError: if there is no such evaluator or condition.
        EmptyInputError: if it has measured nothing, or under several conditions and none is chosen.
    """
    if category not in EVALUATORS:
        hint = suggest(category, EVALUATORS) or "."
        raise UnknownNameError(f"no category {category!r}{hint} Categories: {', '.join(EVALUATORS)}.")
    metric = EVALUATORS[category].headline
    conditions = measurements.filter(split="test", metric=metric)["condition"].unique().sort().to_list()
    listing = ", ".join(map(repr, conditions))
    if not conditions:
        raise EmptyInputError(
            f"no {metric} in this table; add `{category}` to the `evaluators` of its spec and run that again."
        )
    if condition is not None:
        if condition not in conditions:
            raise UnknownNameError(f"no {metric} under condition {condition!r}; there is {listing}.")
        return metric, condition
    if CLEAN in conditions:
        return metric, CLEAN
    if len(conditions) > 1:
        raise EmptyInputError(
            f"{metric} was measured under {len(conditions)} conditions; choose one with `--condition`: "
            f"{listing}."
        )
    return metric, conditions[0]
