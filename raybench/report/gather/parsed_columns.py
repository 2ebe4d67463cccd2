"""Columns read from the texts of tasks and conditions, each distinct text parsed once."""

from collections.abc import Callable

import polars as pl

from raybench.core.condition import Condition
from raybench.core.errors import UnknownNameError
from raybench.core.records import Task


def with_protocol(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `protocol`, from `task`; null where a task is not of the form `protocol@dataset`."""
    return frame.with_columns(protocol=_parsed(frame["task"], lambda text: Task.parse(text).protocol))


def with_condition_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `condition_kind` and `condition_subject`, from `condition`; null where it cannot be parsed."""
    return frame.with_columns(
        condition_kind=_parsed(frame["condition"], lambda text: Condition.parse(text).kind),
        condition_subject=_parsed(frame["condition"], lambda text: Condition.parse(text).subject),
    )


def _parsed(texts: pl.Series, parse: Callable[[str], str]) -> pl.Series:
    """`parse` of every text; null where it fails, because a user's own table may hold any text."""
    parsed: dict[str, str | None] = {}
    for text in texts.unique():
        try:
            parsed[text] = parse(text)
        except UnknownNameError:
            parsed[text] = None
    return texts.replace_strict(parsed, return_dtype=pl.String)
