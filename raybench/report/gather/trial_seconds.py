"""Wall-clock seconds that the trials of each pair took."""

from collections.abc import Sequence

import polars as pl

from raybench.core.records import TrialRecord

TRIAL_SECONDS = pl.Schema(
    {
        "backbone": pl.String,
        "task": pl.String,
        "num_search": pl.Int64,
        "search_seconds": pl.Float64,
        "num_final": pl.Int64,
        "final_seconds": pl.Float64,
        "device": pl.String,
    }
)


def trial_seconds(records: Sequence[TrialRecord]) -> pl.DataFrame:
    """Wall-clock seconds of all trials of a pair, failed ones included; columns as TRIAL_SECONDS, sorted.

    Features are computed once per backbone and dataset. They have a row of their own, `features (TASK)`,
    named after the task that needed them first. The device is that of the final stage, null without one.
    """
    if not records:
        return TRIAL_SECONDS.to_frame()
    rows = [
        (
            record.pair.backbone,
            f"features ({record.pair.task})" if record.stage == "features" else str(record.pair.task),
            "final" if record.stage == "final" else "search",
            record.wall_seconds,
            record.provenance.get("device"),
        )
        for record in records
    ]
    schema = {
        "backbone": pl.String,
        "task": pl.String,
        "stage": pl.String,
        "seconds": pl.Float64,
        "device": pl.String,
    }
    seconds = {stage: pl.col("seconds").filter(pl.col("stage") == stage) for stage in ("search", "final")}
    return (
        pl.DataFrame(rows, schema=schema, orient="row")
        .group_by("backbone", "task")
        .agg(
            num_search=seconds["search"].len(),
            search_seconds=seconds["search"].sum(),
            num_final=seconds["final"].len(),
            final_seconds=seconds["final"].sum(),
            device=pl.col("device").drop_nulls().unique().sort().str.join(", ").replace("", None),
        )
        .sort("backbone", "task")
        .select(TRIAL_SECONDS.names())
        .cast(TRIAL_SECONDS)
    )
