"""Z-scores and ranks within a task, and their mean over tasks: the paper's ranking rule.

The rule (Goldblum et al., NeurIPS 2023): within one task a backbone's z-score is (its value − the mean over
backbones) / their standard deviation; its overall score is the mean of its z-scores. The paper leaves some
choices open. The defaults here are those of `aggregate_ranking.RankingRule`: the sample standard deviation
(`ddof=1`), equal weight per task (`micro`), and negation where lower is better, so that a higher z-score is
always better.
"""

from typing import Literal

import polars as pl

Mean = Literal["micro", "macro"]
"""`micro`: every task weighs the same; `macro`: every category does, and every task within it."""


def zscore_within_task(scores: pl.DataFrame, *, ddof: int = 1, turns_sign: bool = True) -> pl.DataFrame:
    """Add `zscore`: how many standard deviations a backbone is better than the task's mean.

    It is 0 if all backbones of a task are equal.

    Args:
        scores: columns read: backbone, task, value (finite), direction ("min" or "max").
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        turns_sign: negate z-scores of lower-is-better metrics.

    Source: Goldblum et al., "Battle of the Backbones", NeurIPS 2023.
    """
    low, high, good, scaled = (pl.col(name) for name in ("low", "high", "good", "scaled"))
    is_turned = (pl.col("direction") == "min") & turns_sign
    # Eager, because a lazy frame's optimiser drops the sorts, which make sums independent of the row order.
    # Values are scaled to [0, 1] first, so that differences of very small values do not underflow.
    steps = (
        scores.select(
            pl.col("task").cast(pl.Categorical),
            good=pl.when(is_turned).then(-pl.col("value")).otherwise("value"),
        )
        .with_columns(low=good.min().over("task"), high=good.max().over("task"))
        .with_columns(scaled=(good - low) / (high - low))
        .with_columns(
            mean=scaled.sort().mean().over("task"), deviation=scaled.sort().std(ddof=ddof).over("task")
        )
    )
    zscore = (scaled - pl.col("mean")) / pl.col("deviation")
    return scores.with_columns(
        steps.select(zscore=pl.when(high == low).then(0.0).otherwise(zscore)).to_series()
    )


def rank_within_task(scores: pl.DataFrame) -> pl.DataFrame:
    """Add `rank`: 1 is the best backbone of a task, ties share the mean of their ranks.

    Columns read: task, value (finite), direction ("min" or "max").
    """
    value = pl.col("value")
    lower_is_better = pl.when(pl.col("direction") == "min").then(value).otherwise(-value)
    return scores.with_columns(rank=lower_is_better.rank("average").over(pl.col("task").cast(pl.Categorical)))


def overall(
    ranked: pl.DataFrame,
    expected: pl.DataFrame | None = None,
    *,
    mean: Mean = "micro",
    zero_for_missing: bool = False,
) -> pl.DataFrame:
    """Average z-scores and ranks over tasks: one row per backbone, best first.

    Columns: overall_rank, backbone, mean_zscore, mean_rank, num_tasks, is_complete. `overall_rank` is by
    `mean_zscore`; ties share the smaller number. A backbone without any score has neither rank nor means and
    comes last.

    Args:
        ranked: columns read: backbone, task, zscore, rank; category if the mean is macro.
        expected: pairs that should have a score, columns backbone and task; all their backbones are listed.
        mean: whether every task or every category weighs the same.
        zero_for_missing: count a pair without z-score as 0, the task's mean, instead of excluding it.
    """
    pairs = ranked.select("backbone", "task")
    pairs = pairs if expected is None else pl.concat([pairs, expected.select("backbone", "task")])
    backbones = pairs.select("backbone").unique().sort("backbone")
    num_tasks = pairs["task"].n_unique()
    # Sorted and rounded, because another order of summation must not break a tie.
    counts = ranked.group_by("backbone").agg(
        mean_rank=pl.col("rank").sort().mean().round(12), num_tasks=pl.len()
    )
    counted = add_missing_as_zero(ranked) if zero_for_missing else ranked
    average = pl.col("zscore").sort().mean().round(12)
    if mean == "macro":
        counted = counted.group_by("backbone", "category").agg(zscore=average)
    means = counted.group_by("backbone").agg(mean_zscore=average)
    return (
        backbones.join(means, on="backbone", how="left")
        .join(counts, on="backbone", how="left")
        .with_columns(pl.col("num_tasks").fill_null(0))
        .with_columns(
            overall_rank=pl.col("mean_zscore").rank("min", descending=True),
            is_complete=pl.col("num_tasks") == num_tasks,
        )
        .select("overall_rank", "backbone", "mean_zscore", "mean_rank", "num_tasks", "is_complete")
        .sort("overall_rank", "backbone", nulls_last=True)
    )


def add_missing_as_zero(ranked: pl.DataFrame) -> pl.DataFrame:
    """Add a row with z-score 0 for every missing pair of backbone and task, other columns null.

    Columns read: backbone, task, zscore, and category if there is one.
    """
    of_task = ["task", *(["category"] if "category" in ranked.columns else [])]
    every = ranked.select("backbone").unique().join(ranked.select(of_task).unique(), how="cross")
    lacking = every.join(ranked, on=["backbone", "task"], how="anti").with_columns(zscore=pl.lit(0.0))
    return pl.concat([ranked, lacking], how="diagonal")


def add_task_columns(ranking: pl.DataFrame, ranked: pl.DataFrame, column: str = "value") -> pl.DataFrame:
    """Add one column per task to `ranking`: the backbone's `column` on that task, or null."""
    wide = ranked.sort("task").pivot("task", index="backbone", values=column)
    return ranking.join(wide, on="backbone", how="left", maintain_order="left")
