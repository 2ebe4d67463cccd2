"""Comparison of results with a published table, over the backbones and tasks that both have.

Z-scores are relative to the backbones of their own table, so the two tables' z-scores are never mixed:
only the order of the shared backbones and the values of one task by one metric are comparable.
"""

import polars as pl

from raybench.analysis.correlation import spearman


def shared_ranking(ranking: pl.DataFrame, published: pl.DataFrame, same: pl.DataFrame) -> pl.DataFrame:
    """Ranks of the backbones in both tables, best by our results first.

    Columns: backbone, published_as, rank_here, rank_there (1 is best, among the shared backbones only, ties
    share the smaller number), zscore_here, zscore_there (each among all backbones of its own table).

    Args:
        ranking: our aggregate ranking; columns read: backbone, mean_zscore.
        published: the published one; columns read: backbone, mean_zscore.
        same: names of the same weights; columns backbone, published_as.
    """
    here = ranking.select("backbone", zscore_here="mean_zscore").drop_nulls()
    there = published.select(published_as="backbone", zscore_there="mean_zscore").drop_nulls()
    return (
        here.join(same, on="backbone")
        .join(there, on="published_as")
        .with_columns(
            rank_here=pl.col("zscore_here").rank("min", descending=True),
            rank_there=pl.col("zscore_there").rank("min", descending=True),
        )
        .select("backbone", "published_as", "rank_here", "rank_there", "zscore_here", "zscore_there")
        .sort("rank_here", "backbone")
    )


def rank_correlation(shared: pl.DataFrame) -> float | None:
    """Spearman's ρ between the two rankings of `shared_ranking`; None with fewer than 3 backbones."""
    return spearman(shared, "zscore_here", "zscore_there")


def shared_values(scores: pl.DataFrame, published: pl.DataFrame, same: pl.DataFrame) -> pl.DataFrame:
    """Values in both tables by the same metric: task, metric, backbone, published_as, here, there.

    Args:
        scores: our scores; columns read: backbone, task, metric, value.
        published: the published ones; columns as in `scores`.
        same: as for `shared_ranking`.
    """
    theirs = published.select("task", "metric", published_as="backbone", there="value")
    return (
        scores.select("task", "metric", "backbone", here="value")
        .join(same, on="backbone")
        .join(theirs, on=["task", "metric", "published_as"])
        .select("task", "metric", "backbone", "published_as", "here", "there")
        .sort("task", "backbone")
    )
