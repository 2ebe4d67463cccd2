"""A published table beside one's own: the backbones that both have, and the tasks.

Z-scores of two tables are never mixed: each is among its own backbones. What can be compared is the order of
the backbones that both have, and the values of one task by one metric.
"""

import polars as pl

from raybench.analysis.correlation import spearman


def shared_ranking(ranking: pl.DataFrame, published: pl.DataFrame, same: pl.DataFrame) -> pl.DataFrame:
    """Backbones that both tables rank, best here first.

    Columns: backbone, published_as, rank_here, rank_there (1 is best, among the shared ones only, ties share
    the smaller), zscore_here, zscore_there (each among all backbones of its own table).

    Args:
        ranking: one's own; columns read: backbone, mean_zscore.
        published: the published one; columns read: backbone, mean_zscore.
        same: which names mean the same weights; columns backbone, published_as.
    """
    mine = ranking.select("backbone", zscore_here="mean_zscore").drop_nulls()
    theirs = published.select(published_as="backbone", zscore_there="mean_zscore").drop_nulls()
    return (
        mine.join(same, on="backbone")
        .join(theirs, on="published_as")
        .with_columns(
            rank_here=pl.col("zscore_here").rank("min", descending=True),
            rank_there=pl.col("zscore_there").rank("min", descending=True),
        )
        .select("backbone", "published_as", "rank_here", "rank_there", "zscore_here", "zscore_there")
        .sort("rank_here", "backbone")
    )


def rank_correlation(shared: pl.DataFrame) -> float | None:
    """Spearman's ρ between the two orders of `shared_ranking`; None with fewer than 3 backbones."""
    return spearman(shared, "zscore_here", "zscore_there")


def shared_values(scores: pl.DataFrame, published: pl.DataFrame, same: pl.DataFrame) -> pl.DataFrame:
    """Values of one task by one metric in both tables: task, metric, backbone, published_as, here, there.

    Args:
        scores: one's own; columns read: backbone, task, metric, value.
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
