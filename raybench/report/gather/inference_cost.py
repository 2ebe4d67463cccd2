"""What storages know of expenses: the measured costs of inference, and the seconds that trials took."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields

import polars as pl

from raybench.core.records import TrialRecord
from raybench.store.files import StoragePath
from raybench.store.inference_costs import DIRECTIONS, InferenceCost, read_costs

CONFIGURATION = ("hardware", "dtype", "batch_size")
"""What must be equal for two costs to be compared."""
_DTYPES = {str: pl.String, int: pl.Int64, float: pl.Float64}
COSTS = pl.Schema(
    {
        field.name: _DTYPES[field.type]  # type: ignore[index]
        for field in fields(InferenceCost)
        if field.name != "versions"
    }
    | {"torch": pl.String}
)
EFFORT = pl.Schema(
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


def inference_costs(measurements: pl.DataFrame, storages: Sequence[StoragePath]) -> pl.DataFrame:
    """Costs of the measured backbones, columns as COSTS and `is_shown`; sorted, empty if there is none.

    A cost belongs to a backbone if checkpoint and input size are those it was measured with. `is_shown`
    marks the one configuration that the report compares: that of most backbones, of equals the first by
    name. Where several storages hold the same cost, the first one's is taken.
    """
    rows = [
        {**asdict(cost), "torch": cost.versions.get("torch")}
        for storage in storages
        for cost in read_costs(storage)
    ]
    found = pl.DataFrame([{name: row[name] for name in COSTS} for row in rows], schema=COSTS)
    used = {
        (name, origin.get("checkpoint_digest"), (origin.get("preprocessing") or {}).get("input_size"))
        for name, text in measurements.select("backbone", "provenance").unique().iter_rows()
        for origin in [json.loads(text)]
    }
    wanted = pl.DataFrame(
        sorted((entry for entry in used if None not in entry), key=str),
        schema={"name": pl.String, "checkpoint_digest": pl.String, "input_size": pl.Int64},
        orient="row",
    )
    keys = ["checkpoint_digest", "input_size"]
    mine = (
        wanted.join(found, on=keys)
        .drop("backbone")
        .rename({"name": "backbone"})
        .select(COSTS.names())
        .unique(["backbone", *keys, *CONFIGURATION], keep="first", maintain_order=True)
        .sort(*CONFIGURATION, "backbone")
    )
    if mine.is_empty():
        return mine.with_columns(is_shown=pl.lit(value=False))
    counted = mine.group_by(CONFIGURATION).agg(pl.col("backbone").n_unique())
    most = counted.sort(["backbone", *CONFIGURATION], descending=[True, *[False] * len(CONFIGURATION)])
    shown = pl.all_horizontal(pl.col(name) == most[name][0] for name in CONFIGURATION)
    return mine.with_columns(is_shown=shown)


def with_costs(facts: pl.DataFrame, costs: pl.DataFrame) -> pl.DataFrame:
    """`facts` with one column per cost of the configuration that is shown; unchanged if there is none.

    Where one backbone was measured at several input sizes, the mean of them stands.
    """
    shown = costs.filter("is_shown")
    if shown.is_empty():
        return facts
    per_backbone = shown.group_by("backbone").agg(pl.col(*DIRECTIONS).sort().mean())
    return facts.join(per_backbone, on="backbone", how="left", maintain_order="left")


def seconds_spent(records: Sequence[TrialRecord]) -> pl.DataFrame:
    """Wall-clock seconds of all trials of a pair, columns as EFFORT; features are a row per first pair.

    A features stage is done once per backbone and dataset and stands under the task that asked first, its
    task written `features (TASK)`. The device is that of the final stage, null where there was none.
    """
    rows = [
        {
            "backbone": r.pair.backbone,
            "task": f"features ({r.pair.task!s})" if r.stage == "features" else str(r.pair.task),
            "stage": "final" if r.stage == "final" else "search",
            "seconds": r.wall_seconds,
            "device": r.provenance.get("device"),
        }
        for r in records
    ]
    if not rows:
        return pl.DataFrame(schema=EFFORT)
    frame = pl.DataFrame(rows, schema_overrides={"device": pl.String, "seconds": pl.Float64})
    of = {stage: pl.col("seconds").filter(pl.col("stage") == stage) for stage in ("search", "final")}
    return (
        frame.group_by("backbone", "task")
        .agg(
            num_search=of["search"].len(),
            search_seconds=of["search"].sum(),
            num_final=of["final"].len(),
            final_seconds=of["final"].sum(),
            device=pl.col("device").drop_nulls().unique().sort().str.join(", "),
        )
        .with_columns(device=pl.col("device").replace("", None))
        .sort("backbone", "task")
        .select(EFFORT.names())
        .cast(EFFORT)
    )
