"""What a ranking may be by beside the tasks' objectives: each evaluator is a category with a headline."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import polars as pl

from raybench.analysis.scores import select_scores
from raybench.catalog.evaluators import EVALUATORS
from raybench.core.errors import EmptyInputError, UnknownNameError
from raybench.core.registry import suggest
from raybench.metrics import METRICS
from raybench.report.gather.sources import PREFIX, Results

CLEAN = "clean"


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
class Judged:
    """The scores that a criterion picks."""

    scores: pl.DataFrame
    """Per backbone and task: metric, direction, value, num_seeds, category."""
    expected: pl.DataFrame
    """Pairs that ought to have a score, columns backbone and task."""
    condition: str
    """What was done to the images."""


def judge(results: Results, criterion: Criterion) -> Judged:
    """Results → scores by one criterion.

    Raises:
        UnknownNameError: if there is no such metric, category, condition or task.
        EmptyInputError: if nothing was measured so.
        DuplicateMeasurementError: if two experiments contradict each other.
    """
    if results.published is not None:
        return _judge_published(results, criterion)
    expected, measurements = results.expected, results.measurements
    if criterion.tasks:
        known = pl.concat([expected["task"], measurements["task"]]).unique().sort().to_list()
        wanted = chosen_tasks(criterion.tasks, known)
        expected = expected.filter(pl.col("task").is_in(wanted))
        measurements = measurements.filter(pl.col("task").is_in(wanted))
    metric, condition = criterion.metric, criterion.condition
    if criterion.category is not None:
        metric, condition = headline(measurements, criterion.category, condition)
        has_metric = measurements.filter(metric=metric, condition=condition)["task"].unique()
        expected = expected.filter(pl.col("task").is_in(has_metric.implode()))
    scores = select_scores(measurements, metric=metric, condition=condition or CLEAN)
    return Judged(scores=with_category(scores), expected=expected, condition=condition or CLEAN)


def _judge_published(results: Results, criterion: Criterion) -> Judged:
    """A published table holds one metric per task, on clean images, and no evaluator's."""
    paper = results.published
    if paper is None:  # Only for the type checker: `judge` has looked.
        raise EmptyInputError("there is no published table here.")
    scores = pl.DataFrame(paper.scores).with_columns(num_seeds=pl.lit(1))
    name = f"{PREFIX}{paper.name}"
    held = scores["metric"].unique().sort().to_list()
    if criterion.metric is not None and METRICS[criterion.metric] and criterion.metric not in held:
        raise EmptyInputError(f"{name!r} holds {', '.join(held)} only, not {criterion.metric}.")
    if criterion.category is not None or criterion.condition not in (None, CLEAN):
        raise EmptyInputError(f"{name!r} holds measurements on clean images only, and none of an evaluator.")
    if criterion.metric is not None:
        scores = scores.filter(metric=criterion.metric)
    if criterion.tasks:
        wanted = chosen_tasks(criterion.tasks, scores["task"].unique().sort().to_list())
        scores = scores.filter(pl.col("task").is_in(wanted))
    return Judged(scores=scores, expected=scores.select("backbone", "task"), condition=CLEAN)


def chosen_tasks(patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The known tasks that a pattern matches.

    Raises:
        UnknownNameError: if a pattern matches none.

    >>> chosen_tasks(["knn@*"], ["finetune@digits", "knn@digits"])
    ['knn@digits']
    """
    for pattern in patterns:
        if not any(fnmatchcase(task, pattern) for task in known):
            hint = suggest(pattern, known) or "."
            raise UnknownNameError(f"no task {pattern!r} was measured{hint} There are {', '.join(known)}.")
    return [task for task in known if any(fnmatchcase(task, pattern) for pattern in patterns)]


def with_category(scores: pl.DataFrame) -> pl.DataFrame:
    """Add `category`: retrieval or classification, by the task's protocol."""
    is_retrieval = pl.col("task").str.starts_with("retrieval@")
    return scores.with_columns(
        category=pl.when(is_retrieval).then(pl.lit("retrieval")).otherwise(pl.lit("classification"))
    )


def headline(measurements: pl.DataFrame, category: str, condition: str | None) -> tuple[str, str]:
    """(Metric, condition) of a category in this table.

    Args:
        measurements: the measurement table.
        category: name of an evaluator.
        condition: which of its conditions; None takes `clean` where the headline has it, else the only one.

    Raises:
        UnknownNameError: if there is no such evaluator or condition.
        EmptyInputError: if it has measured nothing, or under several conditions and none is chosen.
    """
    if category not in EVALUATORS:
        hint = suggest(category, EVALUATORS) or "."
        raise UnknownNameError(f"no category {category!r}{hint} Categories: {', '.join(EVALUATORS)}.")
    metric = EVALUATORS[category].headline
    found = measurements.filter(split="test", metric=metric)["condition"].unique().sort().to_list()
    if not found:
        raise EmptyInputError(
            f"no {metric} in this table; add `{category}` to the `evaluators` of its spec and run that again."
        )
    if condition is not None:
        if condition not in found:
            raise UnknownNameError(
                f"no {metric} under condition {condition!r}; there is {', '.join(map(repr, found))}."
            )
        return metric, condition
    if CLEAN in found:
        return metric, CLEAN
    if len(found) > 1:
        raise EmptyInputError(
            f"{metric} was measured under {len(found)} conditions; choose one with `--condition`: "
            f"{', '.join(map(repr, found))}."
        )
    return metric, found[0]
