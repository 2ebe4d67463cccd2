"""What a ranking may be by beside the tasks' objectives: each evaluator is a category with a headline."""

import polars as pl

from raybench.catalog.evaluators import EVALUATORS
from raybench.errors import EmptyInputError, UnknownNameError
from raybench.registry import suggest

CLEAN = "clean"


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
