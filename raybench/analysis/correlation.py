"""Correlations: between tasks, of scores with size and pretraining data, and between protocols."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import polars as pl

from raybench.analysis.scores import SIGN
from raybench.core.errors import MissingMeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def spearman(frame: pl.DataFrame, one: str, other: str) -> float | None:
    """Spearman's ρ of two columns, in [−1, 1]; None with fewer than 3 rows or if a column is constant."""
    if frame.height < 3 or frame[one].n_unique() == 1 or frame[other].n_unique() == 1:
        return None
    return float(frame.select(pl.corr(pl.col(one).rank(), pl.col(other).rank())).item())


def kendall(one: Sequence[float] | Array, other: Sequence[float] | Array) -> float | None:
    """Kendall's τ-b, in [−1, 1]; None if either side is constant.

    >>> kendall([1, 2, 3], [3, 2, 1])
    -1.0
    """
    from scipy.stats import kendalltau  # Deferred: `raybench rank` starts without scipy.

    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(kendalltau(one, other).statistic)


def task_correlations(ranked: pl.DataFrame, *, by: str = "task") -> pl.DataFrame:
    """Spearman's ρ between every two tasks, over the backbones that have both.

    Columns: one, other, spearman (null where it is undefined), num_backbones.

    Args:
        ranked: columns read: backbone, zscore (higher is better) and `by`.
        by: `task`, or `category`, which uses mean z-scores per category.
    """
    scores = ranked.group_by("backbone", by).agg(zscore=pl.col("zscore").sort().mean().round(12))
    names = scores[by].unique().sort().to_list()
    wide = scores.pivot(by, index="backbone", values="zscore")
    rows = []
    for one, other in combinations(names, 2):
        both = wide.select(a=one, b=other).drop_nulls()
        rows.append((one, other, spearman(both, "a", "b"), both.height))
    schema = {"one": pl.String, "other": pl.String, "spearman": pl.Float64, "num_backbones": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def score_correlations(ranking: pl.DataFrame, info: pl.DataFrame, column: str) -> pl.DataFrame:
    """Spearman's ρ of the mean z-score with a property of backbones, per family and over all.

    Columns: family (`all` first), spearman, num_backbones. Backbones of unknown value are excluded. The paper
    reports size and number of pretraining images, for CNNs and ViTs.

    Args:
        ranking: columns read: backbone, mean_zscore.
        info: columns read: backbone, family and `fact`.
        column: a numeric column, e.g. `params_m` or `pretrain_images`.
    """
    complete = ranking.select("backbone", "mean_zscore").join(
        info.select("backbone", "family", pl.col(column).cast(pl.Float64).alias("fact")),
        on="backbone",
    )
    complete = complete.drop_nulls()
    groups = [("all", complete)] + [
        (family, complete.filter(family=family)) for family in complete["family"].unique().sort()
    ]
    rows = [(name, spearman(group, "mean_zscore", "fact"), group.height) for name, group in groups]
    schema = {"family": pl.String, "spearman": pl.Float64, "num_backbones": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def apples_to_apples(ranking: pl.DataFrame, info: pl.DataFrame, *, data_factor: float = 2.0) -> pl.DataFrame:
    """Groups of backbones with the same architecture and similar amounts of pretraining data.

    Columns: group (number), architecture, rank_in_group (1 is best, ties share the smaller number), backbone,
    pretrain_images, mean_zscore. Within an architecture, backbones are sorted by data, and a new group begins
    at more than `data_factor` times the group's smallest. Groups of one and backbones of unknown data are
    excluded.

    Args:
        ranking: columns read: backbone, mean_zscore.
        info: columns read: backbone, architecture, pretrain_images.
        data_factor: largest ratio of images within a group, at least 1.
    """
    complete = (
        ranking.select("backbone", "mean_zscore")
        .join(info.select("backbone", "architecture", "pretrain_images"), on="backbone")
        .drop_nulls()
        .sort("architecture", "pretrain_images", "backbone")
    )
    groups: list[int] = []
    current, smallest = 0, (None, 0.0)
    for architecture, images in complete.select("architecture", "pretrain_images").iter_rows():
        if architecture != smallest[0] or images > data_factor * smallest[1]:
            current, smallest = current + 1, (architecture, images)
        groups.append(current)
    return (
        complete.with_columns(group=pl.Series(groups, dtype=pl.Int64))
        .filter(pl.len().over("group") > 1)
        .with_columns(
            group=pl.col("group").rank("dense"),
            rank_in_group=pl.col("mean_zscore").rank("min", descending=True).over("group"),
        )
        .select("group", "architecture", "rank_in_group", "backbone", "pretrain_images", "mean_zscore")
        .sort("group", "rank_in_group", "backbone")
    )


def compare_protocols(
    scores: pl.DataFrame, *, one: str = "linear_probe", other: str = "finetune"
) -> pl.DataFrame:
    """Compare two protocols on the same datasets, one row per dataset and backbone that has both.

    Columns: dataset, backbone, one, other (values), gain (how much better `other` is; positive is better for
    both directions), rank_one, rank_other, moved (ranks gained under `other`).

    Args:
        scores: columns read: backbone, task (`protocol@dataset`), direction, value.
        one: name of a protocol.
        other: name of the protocol to compare it with.

    Raises:
        MissingMeasurementError: if no backbone has both on one dataset.
    """
    parts = pl.col("task").str.splitn("@", 2).struct
    named = scores.with_columns(protocol=parts.field("field_0"), dataset=parts.field("field_1"))
    first, second = (named.filter(protocol=name) for name in (one, other))
    both = first.select("dataset", "backbone", "direction", one="value").join(
        second.select("dataset", "backbone", other="value"), on=["dataset", "backbone"]
    )
    if both.is_empty():
        raise MissingMeasurementError(
            f"no backbone has both {one!r} and {other!r} on one dataset; run the missing protocol first."
        )
    return (
        both.with_columns(
            gain=SIGN * (pl.col("other") - pl.col("one")),
            rank_one=(-SIGN * pl.col("one")).rank("average").over("dataset"),
            rank_other=(-SIGN * pl.col("other")).rank("average").over("dataset"),
        )
        .with_columns(moved=pl.col("rank_one") - pl.col("rank_other"))
        .drop("direction")
        .sort("dataset", "rank_other", "backbone")
    )


def gain_by_family(compared: pl.DataFrame, info: pl.DataFrame) -> pl.DataFrame:
    """Average the gain of `compare_protocols` per family: family, mean_gain, mean_moved, num_pairs.

    Args:
        compared: from `compare_protocols`.
        info: columns read: backbone, family.
    """
    return (
        compared.join(info.select("backbone", "family"), on="backbone")
        .group_by("family")
        .agg(
            mean_gain=pl.col("gain").sort().mean(),
            mean_moved=pl.col("moved").sort().mean(),
            num_pairs=pl.len(),
        )
        .sort("family")
    )
