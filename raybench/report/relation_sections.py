"""The sections on what goes with the score: size, data, cost, other tasks. `Evidence` → parts of a page."""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.correlation import score_against, task_correlations
from raybench.analysis.cost import pareto_front
from raybench.metrics import METRICS
from raybench.report import charts
from raybench.report.evidence import Evidence
from raybench.report.page import Absent, Figure, Part, Table


def pareto(evidence: Evidence) -> Sequence[Part]:
    """Score against size, and against every measured cost."""
    table = evidence.standing.select("backbone", "mean_zscore").join(
        evidence.facts, on="backbone", how="left"
    )
    parts: list[Part] = []
    for cost in ("params_m", *evidence.costs):
        way = METRICS[cost].direction if cost in METRICS else "min"
        if table.drop_nulls(["mean_zscore", cost]).is_empty():
            parts.append(Absent(f"{cost} is not known of any backbone."))
            continue
        front = pareto_front(table, {"mean_zscore": "max", cost: way})
        named = front.drop_nulls("on_front").with_columns(
            front=pl.when("on_front").then(pl.lit("on the front")).otherwise(pl.lit("dominated"))
        )
        best = ", ".join(named.filter("on_front")["backbone"])
        svg = charts.scatter(
            named.filter(pl.col(cost) > 0), cost, f"{cost.replace('_', ' ')} (logarithmic)", "front"
        )
        parts += [
            Figure(svg, f"Mean z-score over {cost}. On the Pareto front: {best}.", f"On the front: {best}."),
            Table(
                front.select("backbone", "mean_zscore", cost, "on_front", "dominated_by"),
                f"Pareto front by {cost}",
                f"pareto_{cost}",
            ),
        ]
    if not evidence.costs:
        parts.append(
            Absent("throughput and memory were not measured in this experiment, so size stands for cost.")
        )
    return parts


def scaling(evidence: Evidence) -> Sequence[Part]:
    """Score over size and over pretraining data, by family."""
    parts: list[Part] = []
    for fact, title in (("params_m", "million parameters"), ("pretrain_images", "pretraining images")):
        known = evidence.standing.join(evidence.facts, on="backbone").filter(pl.col(fact) > 0)
        known = known.drop_nulls("mean_zscore")
        if known.height < 2:
            parts.append(
                Absent(f"{title} are known (and above 0) of {known.height} backbones; a scatter needs 2.")
            )
            continue
        svg = charts.scatter(known, fact, f"{title} (logarithmic)", "family")
        found = score_against(evidence.standing, evidence.facts, fact)
        alt = f"Scatter of mean z-score over {title}, {known.height} backbones, by family."
        parts += [
            Figure(
                svg,
                alt,
                f"Mean z-score over {title}; a value of 0 has no place on a logarithmic axis.",
            ),
            Table(found, f"Spearman's ρ of mean z-score with {title}", f"correlation_{fact}"),
        ]
    return parts


def correlations(evidence: Evidence) -> Sequence[Part]:
    """Task by task."""
    tasks = evidence.ranked["task"].unique().sort().to_list()
    num_backbones = evidence.standing.height
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
    svg = charts.heat_map(
        whole, x="one", y="other", value="spearman", order=(tasks, tasks), domain=(-1.0, 1.0)
    )
    return [
        Figure(
            svg,
            "Spearman correlation between every two tasks.",
            f"Spearman's ρ over {num_backbones} backbones.",
        ),
        Table(found, "Correlation between tasks", "task_correlations", is_folded=True),
    ]
