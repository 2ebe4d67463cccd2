"""The sections on what goes with the score: size, data, cost, other tasks. `ReportData` → parts of a page."""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.correlation import score_correlations, task_correlations
from raybench.analysis.cost import pareto_front
from raybench.metrics import METRICS
from raybench.report.gather.inference_cost import CONFIGURATION
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Part, Table, Text
from raybench.store.inference_costs import DIRECTIONS


def pareto(evidence: ReportData) -> Sequence[Part]:
    """Score against size, and against every measured cost."""
    table = evidence.aggregate_ranking.select("backbone", "mean_zscore").join(
        evidence.facts, on="backbone", how="left"
    )
    parts: list[Part] = []
    for cost in ("params_m", *evidence.costs):
        way = DIRECTIONS.get(cost) or (METRICS[cost].direction if cost in METRICS else "min")
        if table.drop_nulls(["mean_zscore", cost]).is_empty():
            parts.append(Absent(f"{cost} is not known of any backbone."))
            continue
        front = pareto_front(table, {"mean_zscore": "max", cost: way})
        named = front.drop_nulls("on_front").with_columns(
            front=pl.when("on_front").then(pl.lit("on the front")).otherwise(pl.lit("dominated"))
        )
        best = ", ".join(named.filter("on_front")["backbone"])
        drawing = charts.scatter(
            named.filter(pl.col(cost) > 0), cost, f"{cost.replace('_', ' ')} (logarithmic)", "front"
        )
        parts += [
            Figure(
                drawing, f"Mean z-score over {cost}. On the Pareto front: {best}.", f"On the front: {best}."
            ),
            Table(
                front.select("backbone", "mean_zscore", cost, "on_front", "dominated_by"),
                f"Pareto front by {cost}",
                f"pareto_{cost}",
            ),
        ]
    return [*_inference(evidence), *parts, *_effort(evidence)]


def _inference(evidence: ReportData) -> list[Part]:
    """On what the costs were measured, and all of them."""
    table = evidence.inference
    if table.is_empty():
        where = evidence.sources[0] if evidence.specs else "STORAGE"
        return [
            Absent(
                "throughput, FLOPs and memory were not measured, so size stands for cost; "
                f"`raybench cost {where}` measures them on the machine that counts."
            )
        ]
    shown = table.filter("is_shown")
    row = shown.row(0, named=True)
    others = table.select(CONFIGURATION).unique().height - 1
    more = f" {others} other ways of running are in the table." if others else ""
    return [
        Text(
            f"Inference measured on {row['hardware']}, {row['dtype']}, batches of {row['batch_size']}: "
            f"images per second are the median of {row['num_batches']} timed batches, half of which lie "
            f"between low and high; latency is that of one image. {shown['backbone'].n_unique()} of "
            f"{evidence.aggregate_ranking.height} backbones have been measured so.{more} FLOPs count a "
            "multiplication and an addition as two."
        ),
        Table(table.drop("is_shown"), "What inference costs", "inference_costs", is_folded=True),
    ]


def _effort(evidence: ReportData) -> list[Part]:
    """What the measurements themselves took."""
    effort = evidence.effort
    if effort.is_empty():
        return []
    total = effort.select(pl.sum_horizontal("search_seconds", "final_seconds").sum()).item()
    devices = ", ".join(effort["device"].drop_nulls().unique().sort()) or "devices that were not kept"
    return [
        Text(
            f"All trials together took {total:,.0f} s on {devices}: wall-clock seconds of trials, several of "
            "which may have run at once and shared a device; failed ones count. Computing features, which "
            "tasks share, is a row of its own."
        ),
        Table(effort, "Seconds spent per pair", "seconds_spent", is_folded=True),
    ]


def scaling(evidence: ReportData) -> Sequence[Part]:
    """Score over size and over pretraining data, by family."""
    parts: list[Part] = []
    for fact, title in (("params_m", "million parameters"), ("pretrain_images", "pretraining images")):
        known = evidence.aggregate_ranking.join(evidence.facts, on="backbone").filter(pl.col(fact) > 0)
        known = known.drop_nulls("mean_zscore")
        if known.height < 2:
            parts.append(
                Absent(f"{title} are known (and above 0) of {known.height} backbones; a scatter needs 2.")
            )
            continue
        drawing = charts.scatter(known, fact, f"{title} (logarithmic)", "family")
        found = score_correlations(evidence.aggregate_ranking, evidence.facts, fact)
        alt = f"Scatter of mean z-score over {title}, {known.height} backbones, by family."
        parts += [
            Figure(
                drawing,
                alt,
                f"Mean z-score over {title}; a value of 0 has no place on a logarithmic axis.",
            ),
            Table(found, f"Spearman's ρ of mean z-score with {title}", f"correlation_{fact}"),
        ]
    return parts


def correlations(evidence: ReportData) -> Sequence[Part]:
    """Task by task."""
    tasks = evidence.ranked["task"].unique().sort().to_list()
    num_backbones = evidence.aggregate_ranking.height
    if len(tasks) < 2 or num_backbones < 3:
        return [
            Absent(
                f"correlation needs 2 tasks and 3 backbones or more, got {len(tasks)} and {num_backbones}."
            )
        ]
    found = task_correlations(evidence.ranked)
    mirrored = found.select(one="other", other="one", spearman="spearman", num_backbones="num_backbones")
    self_rows = pl.DataFrame({"one": tasks, "other": tasks}).with_columns(spearman=pl.lit(1.0))
    whole = pl.concat([found, mirrored, self_rows], how="diagonal").drop_nulls("spearman")
    drawing = charts.heat_map(
        whole, x="one", y="other", value="spearman", order=(tasks, tasks), domain=(-1.0, 1.0)
    )
    return [
        Figure(
            drawing,
            "Spearman correlation between every two tasks.",
            f"Spearman's ρ over {num_backbones} backbones.",
        ),
        Table(found, "Correlation between tasks", "task_correlations", is_folded=True),
    ]
