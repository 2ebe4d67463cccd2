"""Measurements → means over seeds, for metrics that are not ranked."""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.scores import agree_across_experiments, mean_over_seeds
from raybench.catalog.tasks import PROTOCOLS
from raybench.metrics import METRICS
from raybench.report.gather.criteria import CLEAN
from raybench.report.gather.parsed_columns import with_protocol

MEANS = pl.Schema(
    {
        "backbone": pl.String,
        "task": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "num_seeds": pl.UInt32,
        "direction": pl.String,
        "condition": pl.String,
    }
)


def seed_means(measurements: pl.DataFrame) -> pl.DataFrame:
    """Mean over seeds per backbone, task, condition and metric; columns as MEANS, sorted.

    Raises:
        DuplicateMeasurementError: two experiments measured different values of the same thing.
    """
    means = [
        group.pipe(agree_across_experiments)
        .pipe(mean_over_seeds)
        .with_columns(
            metric=pl.lit(metric),
            condition=pl.lit(condition),
            direction=pl.lit(METRICS[str(metric)].direction),
        )
        for (metric, condition), group in sorted(measurements.group_by("metric", "condition"))
    ]
    if not means:
        return MEANS.to_frame()
    return pl.concat(means).select(MEANS.names()).sort("task", "condition", "metric", "backbone")


def protocol_metrics(measurements: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
    """`seed_means` on clean test images of every metric that the tasks' protocols declare, best first."""
    declared = [(name, metric) for name, protocol in PROTOCOLS.items() for metric in protocol.metrics]
    keys = pl.DataFrame(declared, schema={"protocol": pl.String, "metric": pl.String}, orient="row")
    on_test = measurements.filter(pl.col("task").is_in(list(tasks)), split="test", condition=CLEAN)
    rows = on_test.pipe(with_protocol).join(keys, on=["protocol", "metric"], how="semi")
    return seed_means(rows).drop("condition").pipe(best_first)


def best_first(means: pl.DataFrame) -> pl.DataFrame:
    """Sort by task, condition (if any) and metric, and within them the best backbone first."""
    loss = pl.when(pl.col("direction") == "min").then("value").otherwise(-pl.col("value"))
    groups = [name for name in ("task", "condition", "metric") if name in means.columns]
    return means.sort(*groups, loss, "backbone")
