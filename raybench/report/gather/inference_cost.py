"""Measured inference cost of the backbones, from the storages' tables of `raybench cost`."""

from collections.abc import Sequence
from dataclasses import asdict, fields

import polars as pl

from raybench.store.files import StoragePath
from raybench.store.inference_costs import DIRECTIONS, InferenceCost, read_costs
from raybench.store.measurements import parse_provenance

CONFIGURATION = ("hardware", "dtype", "batch_size")
"""Columns that must be equal for two costs to be comparable."""
_DTYPES = {str: pl.String, int: pl.Int64, float: pl.Float64}
COSTS = pl.Schema(
    {
        field.name: _DTYPES[field.type]  # type: ignore[index]
        for field in fields(InferenceCost)
        if field.name != "versions"
    }
    | {"torch": pl.String}
)


def inference_costs(measurements: pl.DataFrame, storages: Sequence[StoragePath]) -> pl.DataFrame:
    """Inference costs of the measured backbones, columns as COSTS and `is_shown`; sorted, may be empty.

    A cost belongs to a backbone if checkpoint and input size are those it was measured with. `is_shown`
    marks the one configuration that the report compares: that of most backbones; ties go to the first by
    name. Where several storages hold the same cost, the first one's is taken.
    """
    rows = [
        asdict(cost) | {"torch": cost.versions.get("torch")}
        for storage in storages
        for cost in read_costs(storage)
    ]
    costs = pl.DataFrame([{name: row[name] for name in COSTS} for row in rows], schema=COSTS)
    keys = ["checkpoint_digest", "input_size"]
    matching = (
        _measured_checkpoints(measurements)
        .join(costs.drop("backbone"), on=keys)
        .select(COSTS.names())
        .unique(["backbone", *keys, *CONFIGURATION], keep="first", maintain_order=True)
        .sort(*CONFIGURATION, "backbone")
    )
    if matching.is_empty():
        return matching.with_columns(is_shown=pl.lit(value=False))
    num_backbones = matching.group_by(CONFIGURATION).agg(pl.col("backbone").n_unique())
    most = num_backbones.sort(["backbone", *CONFIGURATION], descending=[True, *[False] * len(CONFIGURATION)])
    is_shown = pl.all_horizontal(pl.col(name) == most[name][0] for name in CONFIGURATION)
    return matching.with_columns(is_shown=is_shown)


def _measured_checkpoints(measurements: pl.DataFrame) -> pl.DataFrame:
    """Checkpoint and input size with which each backbone was measured, sorted."""
    used = {
        (backbone, origin.get("checkpoint_digest"), (origin.get("preprocessing") or {}).get("input_size"))
        for backbone, text in measurements.select("backbone", "provenance").unique().iter_rows()
        for origin in [parse_provenance(text)]
    }
    return pl.DataFrame(
        sorted((entry for entry in used if None not in entry), key=str),
        schema={"backbone": pl.String, "checkpoint_digest": pl.String, "input_size": pl.Int64},
        orient="row",
    )


def add_inference_cost(backbones: pl.DataFrame, costs: pl.DataFrame) -> pl.DataFrame:
    """Add one column per cost of the configuration that is shown; unchanged if there is none.

    A backbone that was measured at several input sizes gets the mean of them.
    """
    shown = costs.filter("is_shown")
    if shown.is_empty():
        return backbones
    per_backbone = shown.group_by("backbone").agg(pl.col(*DIRECTIONS).sort().mean())
    return backbones.join(per_backbone, on="backbone", how="left", maintain_order="left")
