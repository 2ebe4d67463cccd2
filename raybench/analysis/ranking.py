"""Scores → ranks, by the paper's rule: z-scores within a task, averaged over tasks.

Every function maps a frame to a frame. The rule (Goldblum et al., NeurIPS 2023): within one task a
backbone's z-score is (its value − the mean over backbones) / their standard deviation; its overall score is
the mean of its z-scores. What the paper leaves open is decided here and can be said otherwise: the deviation
is the sample's (`ddof=1`; the order within a task cannot depend on it), every task weighs the same, and the
sign is turned where lower is better, so that a higher z-score is better everywhere.
"""

import polars as pl


def zscore_within_task(scores: pl.DataFrame, *, ddof: int = 1) -> pl.DataFrame:
    """Add `zscore`: by how many standard deviations a backbone is better than the task's mean.

    Where all backbones of a task are equal it is 0: the task tells nobody apart.

    Args:
        scores: columns read: backbone, task, value (finite), direction ("min" or "max").
        ddof: 1 for the sample's standard deviation, 0 for the population's.

    Source: Goldblum et al., "Battle of the Backbones", NeurIPS 2023.
    """
    value, task = pl.col("value"), "task"
    sign = pl.when(pl.col("direction") == "min").then(-1.0).otherwise(1.0)
    # Scaled to [0, 1] first, which no z-score notices: differences of very small values do not underflow.
    low, high = value.min().over(task), value.max().over(task)
    scaled = (value - low) / (high - low)
    mean, deviation = scaled.sort().mean().over(task), scaled.sort().std(ddof=ddof).over(task)
    zscore = pl.when(high == low).then(0.0).otherwise(sign * (scaled - mean) / deviation)
    return scores.with_columns(zscore=zscore)


def rank_within_task(scores: pl.DataFrame) -> pl.DataFrame:
    """Add `rank`: 1 is the best backbone of a task, ties share the mean of their ranks.

    Columns read: task, value (finite), direction ("min" or "max").
    """
    value = pl.col("value")
    lower_is_better = pl.when(pl.col("direction") == "min").then(value).otherwise(-value)
    return scores.with_columns(rank=lower_is_better.rank("average").over("task"))


def overall(ranked: pl.DataFrame, expected: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row per backbone, best first.

    Columns: overall_rank, backbone, mean_zscore, mean_rank, num_tasks, is_complete. Every task weighs
    the same (macro average). `overall_rank` is by `mean_zscore`; equals share the smaller number. A
    backbone without any score has neither rank nor means, and stands last.

    Args:
        ranked: columns read: backbone, task, zscore, rank.
        expected: pairs that ought to be there, columns backbone and task; all their backbones are listed.
    """
    pairs = ranked.select("backbone", "task")
    pairs = pairs if expected is None else pl.concat([pairs, expected.select("backbone", "task")])
    everyone = pairs.select("backbone").unique().sort("backbone")
    num_tasks = pairs["task"].n_unique()
    # Sorted and rounded: a sum in another order must not part a tie.
    means = ranked.group_by("backbone").agg(
        mean_zscore=pl.col("zscore").sort().mean().round(12),
        mean_rank=pl.col("rank").sort().mean().round(12),
        num_tasks=pl.len(),
    )
    return (
        everyone.join(means, on="backbone", how="left")
        .with_columns(pl.col("num_tasks").fill_null(0))
        .with_columns(
            overall_rank=pl.col("mean_zscore").rank("min", descending=True),
            is_complete=pl.col("num_tasks") == num_tasks,
        )
        .select("overall_rank", "backbone", "mean_zscore", "mean_rank", "num_tasks", "is_complete")
        .sort("overall_rank", "backbone", nulls_last=True)
    )


def beside_tasks(standing: pl.DataFrame, ranked: pl.DataFrame, column: str = "value") -> pl.DataFrame:
    """`standing` with one more column per task that holds a backbone's `column` there, or null."""
    wide = ranked.sort("task").pivot("task", index="backbone", values=column)
    return standing.join(wide, on="backbone", how="left", maintain_order="left")
