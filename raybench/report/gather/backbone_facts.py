"""What is known of a backbone beside its scores: family, pretraining, size, and every measured cost."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from raybench.core.records import digest_of
from raybench.report.gather.inference_cost import inference_costs, with_costs
from raybench.report.gather.sources import Results
from raybench.store.inference_costs import DIRECTIONS

COST_WORDS = ("throughput", "images_per_second", "latency", "memory", "flops")
"""A metric whose name holds one of these is a cost, and enters the Pareto section when it was measured."""
FACTS = pl.Schema(
    {
        "backbone": pl.String,
        "family": pl.String,
        "method": pl.String,
        "architecture": pl.String,
        "params_m": pl.Float64,
        "pretrain_images": pl.Int64,
    }
)


def facts_of(results: Results) -> pl.DataFrame:
    """One row per measured backbone, columns as FACTS and one per measured cost.

    Parameters as counted when measuring; the rest as the specs' catalogue rows say.
    """
    if results.published is not None:
        rows_of_paper = [
            (b.backbone, b.family, b.pretrain_style, b.architecture, b.params_m, b.pretrain_images)
            for b in results.published.backbones
        ]
        return pl.DataFrame(rows_of_paper, schema=FACTS, orient="row")
    measurements = results.measurements
    rows = {row["name"]: row for spec in results.specs for row in spec.get("backbones", ())}
    origins = measurements.unique("backbone").select("backbone", "provenance")
    counted = {backbone: json.loads(origin) for backbone, origin in origins.iter_rows()}
    found = []
    for backbone in measurements["backbone"].unique().sort():
        row, num_params = rows.get(backbone, {}), counted[backbone].get("num_params")
        params = num_params / 1e6 if num_params else row.get("params_m")
        what = (row.get("family", "unknown"), row.get("method", "unknown"), _architecture(backbone, row))
        found.append((backbone, *what, params, row.get("pretrain_images")))
    table = pl.DataFrame(found, schema=FACTS, orient="row")
    for cost in DIRECTIONS:
        if any(cost in row for row in rows.values()):
            said = [rows.get(backbone, {}).get(cost) for backbone in table["backbone"]]
            table = table.with_columns(pl.Series(cost, said, dtype=pl.Float64))
    inference = inference_costs(measurements, results.storages)
    if inference.height:  # Measured by `raybench cost`, and so preferred to what a table says.
        table = with_costs(table.drop(DIRECTIONS, strict=False), inference)
    is_cost = pl.col("metric").str.contains_any(list(COST_WORDS)) & ~pl.col("metric").is_in(table.columns)
    costs = measurements.filter(is_cost).group_by("backbone", "metric").agg(pl.col("value").sort().mean())
    if costs.is_empty():
        return table
    wide = costs.sort("metric").pivot("metric", index="backbone", values="value")
    return table.join(wide, on="backbone", how="left")


def _architecture(backbone: str, row: Mapping[str, Any]) -> str | None:
    """timm's name before the dot, which names the weights; where the row changes it, with a digest of how."""
    name = str(row.get("timm") or backbone)
    if not row.get("timm") and "." not in backbone:
        return None
    changed = row.get("kwargs")
    return name.partition(".")[0] + (f"·{digest_of(changed, 4)}" if changed else "")
