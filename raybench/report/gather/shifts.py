"""Accuracies under shifts and corruptions beside those on clean images, from the measurement table."""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.scores import agree_across_experiments

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

    A shift is a shifted test set (`shift(NAME)`; its clean accuracy is that of the same classes where it was
    measured, else of all) or a corruption over its severities.

    Args:
        measurements: the measurement table.
        tasks: only these.

    Raises:
        DuplicateMeasurementError: two experiments found different values of one thing.
    """
    condition, keys = pl.col("condition"), ["backbone", "task"]
    is_asked = pl.col("task").is_in(list(tasks)) & pl.col("metric").is_in(["accuracy", "corruption_accuracy"])
    on_test = measurements.filter(is_asked, split="test")
    if on_test.is_empty():
        return SHIFTED.to_frame()
    agreed = [agree_across_experiments(group) for _, group in sorted(on_test.group_by("condition"))]
    means = pl.concat(agreed).group_by(*keys, "metric", "condition").agg(pl.col("value").sort().mean())
    accuracy = means.filter(metric="accuracy")
    sets = accuracy.filter(condition.str.starts_with("shift("))
    corruptions = means.filter(metric="corruption_accuracy")
    shifted = pl.concat([sets, corruptions]).select(*keys, "condition", shifted="value")
    clean = accuracy.filter(condition="clean").select(*keys, clean="value")
    matched = accuracy.filter(condition.str.starts_with("matched(")).select(
        *keys, condition.str.replace("matched", "shift", literal=True), matched="value"
    )
    return (
        shifted.join(clean, on=keys)
        .join(matched, on=[*keys, "condition"], how="left")
        .with_columns(clean=pl.coalesce("matched", "clean"))
        .select(pl.Schema(SHIFTED).names())
        .sort(*keys, "condition")
    )
