"""Accuracies under shifts and corruptions with those on clean images, from the measurement table."""

from collections.abc import Sequence

import polars as pl

from raybench.report.gather.criteria import CLEAN
from raybench.report.gather.parsed_columns import with_condition_columns
from raybench.report.gather.seed_means import seed_means

SHIFTED = pl.Schema(
    {
        "backbone": pl.String,
        "task": pl.String,
        "condition": pl.String,
        "clean": pl.Float64,
        "shifted": pl.Float64,
    }
)


def shifted_accuracies(measurements: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
    """One row per backbone, task and shift, mean over seeds; columns as SHIFTED, sorted.

    A shift is a shifted test set (`shift(NAME)`) or a corruption over its severities. The clean accuracy of a
    shifted test set is that on the same classes where it was measured (`matched(NAME)`), else on all.

    Args:
        measurements: the measurement table.
        tasks: only these.

    Raises:
        DuplicateMeasurementError: two experiments measured different values of the same thing.
    """
    keys = ["backbone", "task"]
    is_read = pl.col("task").is_in(list(tasks)), pl.col("metric").is_in(["accuracy", "corruption_accuracy"])
    means = measurements.filter(*is_read, split="test").pipe(seed_means).pipe(with_condition_columns)
    accuracy = means.filter(metric="accuracy")
    test_sets = accuracy.filter(condition_kind="shift")
    shifted = pl.concat([test_sets, means.filter(metric="corruption_accuracy")])
    clean = accuracy.filter(condition=CLEAN).select(*keys, clean="value")
    matched = accuracy.filter(condition_kind="matched").join(
        test_sets.select("condition_subject", shift="condition").unique(), on="condition_subject"
    )
    return (
        shifted.select(*keys, "condition", shifted="value")
        .join(clean, on=keys)
        .join(matched.select(*keys, condition="shift", matched="value"), on=[*keys, "condition"], how="left")
        .with_columns(clean=pl.coalesce("matched", "clean"))
        .select(SHIFTED.names())
        .sort(*keys, "condition")
    )
