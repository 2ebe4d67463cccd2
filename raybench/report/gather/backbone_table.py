"""Properties of each backbone: family, pretraining, size, inference cost."""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from raybench.core.errors import DataError
from raybench.core.records import digest_of
from raybench.report.gather.inference_cost import add_inference_cost, inference_costs
from raybench.report.gather.sources import Results
from raybench.store.inference_costs import DIRECTIONS
from raybench.store.measurements import parse_provenance

COST_METRICS = ("throughput", "images_per_second", "latency", "memory", "flops")
"""A measured metric whose name contains one of these is an inference cost."""
BACKBONE_INFO = pl.Schema(
    {
        "backbone": pl.String,
        "family": pl.String,
        "method": pl.String,
        "architecture": pl.String,
        "params_m": pl.Float64,
        "pretrain_images": pl.Int64,
    }
)


def backbone_table(results: Results) -> pl.DataFrame:
    """One row per measured backbone, columns as BACKBONE_INFO and one per inference cost.

    Numbers of parameters come from the measurements' provenance, other columns from rows in the specs.
    """
    if results.published is not None:
        rows = [
            (b.backbone, b.family, b.pretrain_style, b.architecture, b.params_m, b.pretrain_images)
            for b in results.published.backbones
        ]
        table = pl.DataFrame(rows, schema=BACKBONE_INFO, orient="row")
        return table.with_columns(*_published_costs(results))
    described = {row["name"]: row for spec in results.specs for row in spec.get("backbones", ())}
    table = _described_backbones(results.measurements, described)
    for cost in DIRECTIONS:
        if any(cost in row for row in described.values()):
            values = [
                _positive(described.get(backbone, {}).get(cost), cost, backbone)
                for backbone in table["backbone"]
            ]
            table = table.with_columns(pl.Series(cost, values, dtype=pl.Float64))
    measured = inference_costs(results.measurements, results.storages)
    if measured.height:  # Measured by `raybench cost`: preferred to what a table states.
        table = add_inference_cost(table.drop(DIRECTIONS, strict=False), measured)
    return _add_cost_metrics(table, results.measurements)


def _published_costs(results: Results) -> list[pl.Series]:
    """GFLOPs and throughput on the chosen machine, where the published table has them."""
    backbones = results.published.backbones if results.published is not None else ()
    costs = {"flops_g": [b.flops_g for b in backbones]}
    if results.machine:
        costs["images_per_second"] = [b.images_per_second.get(results.machine) for b in backbones]
    return [
        pl.Series(name, values, dtype=pl.Float64)
        for name, values in costs.items()
        if any(value is not None for value in values)
    ]


def _described_backbones(
    measurements: pl.DataFrame, described: Mapping[str, Mapping[str, Any]]
) -> pl.DataFrame:
    first_rows = measurements.unique("backbone", keep="first", maintain_order=True)
    provenance = dict(first_rows.select("backbone", "provenance").iter_rows())
    rows = []
    for backbone in sorted(provenance):
        row, num_params = (
            described.get(backbone, {}),
            parse_provenance(provenance[backbone]).get("num_params"),
        )
        family, method = row.get("family", "unknown"), row.get("method", "unknown")
        num_params = _positive(num_params or None, "num_params", backbone)  # 0: no network.
        params_m = num_params / 1e6 if num_params else _positive(row.get("params_m"), "params_m", backbone)
        architecture = _architecture(backbone, row)
        rows.append((backbone, family, method, architecture, params_m, row.get("pretrain_images")))
    return pl.DataFrame(rows, schema=BACKBONE_INFO, orient="row")


def _positive(value: Any, name: str, backbone: str) -> float | None:
    """The value, or None if it is unknown; sizes and costs are drawn on logarithmic axes.

    Raises:
        DataError: if it is not a finite number above 0.
    """
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise DataError(f"backbone {backbone!r} has {name} {value!r}; it must be a finite number above 0.")
    return value


def _add_cost_metrics(table: pl.DataFrame, measurements: pl.DataFrame) -> pl.DataFrame:
    """Add the means of measured metrics that are inference costs."""
    is_cost = pl.col("metric").str.contains_any(list(COST_METRICS)) & ~pl.col("metric").is_in(table.columns)
    costs = measurements.filter(is_cost).group_by("backbone", "metric").agg(pl.col("value").sort().mean())
    if costs.is_empty():
        return table
    wide = costs.sort("metric").pivot("metric", index="backbone", values="value")
    return table.join(wide, on="backbone", how="left")


def _architecture(backbone: str, row: Mapping[str, Any]) -> str | None:
    """timm's architecture name, which ends at the dot, with a digest of changed arguments."""
    name = str(row.get("timm") or backbone)
    if not row.get("timm") and "." not in backbone:
        return None
    changed = row.get("kwargs")
    return name.partition(".")[0] + (f"·{digest_of(changed, 4)}" if changed else "")
