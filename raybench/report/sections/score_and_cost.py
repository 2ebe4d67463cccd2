"""What does a better score cost, in parameters and in measured inference cost?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.aggregate_ranking import rank_within_size
from raybench.analysis.cost import pareto_front
from raybench.core.records import Direction
from raybench.metrics import METRICS
from raybench.report.gather.inference_cost import CONFIGURATION
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Part, Table, Text
from raybench.store.inference_costs import DIRECTIONS

SIZE_LIMITS = (0.4, 1, 3, 10, 30, 100, 300)
"""Millions of parameters. The paper's small tier is below 30."""


def pareto(report_data: ReportData) -> Sequence[Part]:
    """Mean z-score against size and against every measured inference cost."""
    parts: list[Part] = []
    for cost in ("params_m", *report_data.cost_columns):
        parts += _pareto_by(report_data, cost)
    return [*_inference_cost(report_data), *parts, *_trial_seconds(report_data)]


def _pareto_by(report_data: ReportData, cost: str) -> list[Part]:
    info = report_data.backbone_info
    table = report_data.overall.select("backbone", "mean_zscore").join(info, on="backbone", how="left")
    if table.drop_nulls(["mean_zscore", cost]).is_empty():
        return [Absent(f"{cost} is not known of any backbone.")]
    front = pareto_front(table, {"mean_zscore": "max", cost: _direction(cost)})
    compared = front.drop_nulls("on_front").with_columns(
        front=pl.when("on_front").then(pl.lit("on the front")).otherwise(pl.lit("dominated"))
    )
    best = ", ".join(compared.filter("on_front")["backbone"])
    title = f"{cost.replace('_', ' ')} (logarithmic)"
    drawing = charts.scatter(compared.filter(pl.col(cost) > 0), cost, title, "front")
    columns = ("backbone", "mean_zscore", cost, "on_front", "dominated_by")
    return [
        Figure(drawing, f"Mean z-score over {cost}. On the Pareto front: {best}.", f"On the front: {best}."),
        Table(front.select(columns), f"Pareto front by {cost}", f"pareto_{cost}"),
    ]


def _direction(cost: str) -> Direction:
    return DIRECTIONS.get(cost) or (METRICS[cost].direction if cost in METRICS else "min")


def _inference_cost(report_data: ReportData) -> list[Part]:
    """How inference cost was measured, and all measured values."""
    table = report_data.inference_cost
    if table.is_empty():
        place = report_data.results.names[0] if report_data.specs else "STORAGE"
        return [
            Absent(
                "throughput, FLOPs and memory were not measured, so size stands for cost; "
                f"`raybench cost {place}` measures them, best on the machine that will serve the model."
            )
        ]
    shown = table.filter("is_shown")
    row = shown.row(0, named=True)
    num_others = table.select(CONFIGURATION).unique().height - 1
    others = f" {num_others} other configurations are in the table." if num_others else ""
    return [
        Text(
            f"Inference measured on {row['hardware']}, {row['dtype']}, batches of {row['batch_size']}: "
            f"images per second are the median of {row['num_batches']} timed batches, half of which lie "
            f"between low and high; latency is that of one image. {shown['backbone'].n_unique()} of "
            f"{report_data.overall.height} backbones have been measured so.{others} FLOPs count a "
            "multiplication and an addition as two."
        ),
        Table(table.drop("is_shown"), "Inference cost", "inference_costs", is_folded=True),
    ]


def _trial_seconds(report_data: ReportData) -> list[Part]:
    """How long the trials took."""
    seconds = report_data.trial_seconds
    if seconds.is_empty():
        return []
    total = seconds.select(pl.sum_horizontal("search_seconds", "final_seconds").sum()).item()
    devices = ", ".join(seconds["device"].drop_nulls().unique().sort()) or "unrecorded devices"
    return [
        Text(
            f"All trials together took {total:,.0f} s on {devices}. These are wall-clock seconds of trials, "
            "failed ones included; trials may have run in parallel and shared a device. Feature computation, "
            "which tasks share, has rows of its own."
        ),
        Table(seconds, "Seconds spent per pair", "seconds_spent", is_folded=True),
    ]


def size_limits(report_data: ReportData) -> Sequence[Part]:
    """The best backbones within limits of size."""
    tiers = size_tiers(report_data)
    if tiers.is_empty():
        sizes = report_data.backbone_info["params_m"].drop_nulls().sort().to_list()
        spread = (
            f"all sizes lie between {sizes[0]:.3g} and {sizes[-1]:.3g} M" if sizes else "no size is known"
        )
        limits = ", ".join(f"{limit:g}" for limit in SIZE_LIMITS)
        return [Absent(f"no limit of {limits} M parameters separates these backbones: {spread}.")]
    best = tiers.filter(pl.col("rank_in_tier") == 1).unique("max_params_m", keep="first", maintain_order=True)
    winners = "; ".join(
        f"at most {limit:g} M: {name} (rank {rank} overall)"
        for limit, name, rank in best.select("max_params_m", "backbone", "rank_of_all").iter_rows()
    )
    return [
        Text(
            f"The best backbone within a size limit: {winners}. Z-scores are computed over all backbones, as "
            "in the paper, whose small tier is below 30 M; backbones of unknown size are left out."
        ),
        Table(tiers.filter(pl.col("rank_in_tier") <= 3), "The best three within each limit", "size_tiers"),
    ]


def size_tiers(report_data: ReportData) -> pl.DataFrame:
    """The ranking within every limit that excludes some backbones but not all; empty if there is none.

    Columns: max_params_m, rank_in_tier, backbone, params_m, mean_zscore, rank_of_all. Limits that admit the
    same backbones as a smaller one are left out.
    """
    overall = report_data.overall.drop_nulls("mean_zscore")
    tiers: list[pl.DataFrame] = []
    for limit in SIZE_LIMITS:
        tier = rank_within_size(overall, report_data.backbone_info, max_params_m=limit)
        num_smaller = tiers[-1].height if tiers else 0
        if num_smaller < tier.height < overall.height:
            tiers.append(tier.with_columns(max_params_m=pl.lit(float(limit))))
    if not tiers:
        return pl.DataFrame()
    overall_ranks = overall.select("backbone", rank_of_all="overall_rank")
    return (
        pl.concat(tiers)
        .rename({"overall_rank": "rank_in_tier"})
        .join(overall_ranks, on="backbone", maintain_order="left")
        .select("max_params_m", "rank_in_tier", "backbone", "params_m", "mean_zscore", "rank_of_all")
    )
