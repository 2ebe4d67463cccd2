"""What a backbone may cost: limits on size, throughput, latency, memory and FLOPs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from raybench.catalog.published import MACHINES
from raybench.core.errors import EmptyInputError, MissingMeasurementError
from raybench.report.gather.backbone_table import backbone_table
from raybench.report.gather.ranking import Ranking
from raybench.report.gather.sources import Results

QUANTITIES: Mapping[str, tuple[str, str]] = {
    "params_m": ("size", "M parameters"),
    "images_per_second": ("throughput", "images/s"),
    "latency_ms": ("latency", "ms"),
    "peak_memory_mib": ("memory", "MiB"),
    "flops_g": ("FLOPs", "G"),
}
"""What can be limited: column of the backbone table → its name and unit for people."""
REMEDY = "`raybench cost STORAGE` measures throughput, latency, memory and FLOPs"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a backbone may cost."""

    at_most: Mapping[str, float] = field(default_factory=dict)
    """Column of QUANTITIES → the largest value allowed."""
    at_least: Mapping[str, float] = field(default_factory=dict)
    """Column of QUANTITIES → the smallest value allowed."""

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that are limited."""
        return (*self.at_most, *self.at_least)

    @property
    def summary(self) -> str:
        """The limits in words; empty if there is none."""
        sides = (("at most", self.at_most), ("at least", self.at_least))
        return ", ".join(
            f"{QUANTITIES[name][0]} {side} {value:g} {QUANTITIES[name][1]}"
            for side, limits in sides
            for name, value in limits.items()
        )


def within_limits(ranking: Ranking, limits: Limits, top: int | None) -> Ranking:
    """The ranking with only the backbones within limits, at most `top`; ranks stay those among all.

    Raises:
        MissingMeasurementError: if a limited quantity is unknown for all backbones.
        EmptyInputError: if no backbone is within the limits.
    """
    overall = ranking.aggregate_ranking
    if limits.names:
        table = backbone_table(ranking.results)
        require_known(limits, table, ranking.results)
        allowed = table.filter(
            *(pl.col(name) <= value for name, value in limits.at_most.items()),
            *(pl.col(name) >= value for name, value in limits.at_least.items()),
        )
        overall = overall.filter(pl.col("backbone").is_in(allowed["backbone"].implode()))
        if overall.is_empty():
            raise EmptyInputError(f"no backbone has {limits.summary}; relax a limit.")
    overall = overall if top is None else overall.head(top)
    num_ranked = ranking.aggregate_ranking.height
    if overall.height == num_ranked:
        return ranking
    within = f" with {limits.summary}" if limits.names else ""
    note = f"Shown: {overall.height} of {num_ranked} backbones{within}; ranks are among all."
    return replace(ranking, aggregate_ranking=overall, notes=[note, *ranking.notes])


def require_known(limits: Limits, table: pl.DataFrame, results: Results) -> None:
    """Raise MissingMeasurementError if a limited quantity is unknown for all backbones."""
    unknown = unknown_quantities(table)
    for name in limits.names:
        if name in unknown:
            remedy = REMEDY if results.storages else "leave that limit out"
            if name == "images_per_second" and results.published is not None:
                remedy = f"published:timm states it for --machine {'|'.join(MACHINES)}"
            raise MissingMeasurementError(
                f"{QUANTITIES[name][0]} is not known of any backbone in {', '.join(results.names)}, so a "
                f"limit on it cannot be met; {remedy}."
            )


def unknown_quantities(table: pl.DataFrame) -> list[str]:
    """Columns of QUANTITIES that are unknown for all backbones."""
    return [
        name for name in QUANTITIES if name not in table.columns or table[name].null_count() == table.height
    ]
