"""Scores → a standing, with every choice that the paper leaves open said outright.

The defaults are sample deviation, each category weighs the same, backbones without pretraining count like
any other, and incomplete tables are refused.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import polars as pl

from raybench.analysis.ranking import overall, rank_within_task, zscore_within_task
from raybench.analysis.scores import require_complete
from raybench.errors import EmptyInputError

Deviation = Literal["sample", "population"]
Mean = Literal["macro", "micro"]
Missing = Literal["refuse", "mean_of_rest", "zero", "common_tasks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRule:
    """The open choices of the paper's rule; each field's default is raybench's."""

    deviation: Deviation = "sample"
    """By n − 1 or by n."""
    mean: Mean = "macro"
    """`macro`: mean over categories of the mean over their tasks; `micro`: every task weighs the same."""
    with_random_init: bool = True
    """False leaves backbones without pretraining out, of the means and deviations and of the ranking."""
    missing: Missing = "refuse"
    """`mean_of_rest`: over the tasks there are; `zero`: a missing z-score is 0, the task's average;
    `common_tasks`: only tasks that every backbone has."""


def standing_by(
    scores: pl.DataFrame, rule: RankingRule | None = None, *, random_init: tuple[str, ...] = ()
) -> pl.DataFrame:
    """One row per backbone, best first: overall_rank, backbone, mean_zscore, one `z_CATEGORY` per category.

    Also `mean_rank`, `num_tasks` and `is_complete`, as `overall` gives them.

    Args:
        scores: columns read: backbone, task, direction ("min" or "max"), value; category where the mean is
            macro (absent: all tasks are of one category, and macro equals micro).
        rule: the open choices; None takes the defaults.
        random_init: names of the backbones without pretraining.

    Raises:
        MissingMeasurementError: if a pair has no score and the rule refuses that.
        EmptyInputError: if nothing is left to rank.
    """
    rule = rule or RankingRule()
    if not rule.with_random_init:
        scores = scores.filter(~pl.col("backbone").is_in(list(random_init)))
    if "category" not in scores.columns:
        scores = scores.with_columns(category=pl.lit("all"))
    if rule.missing == "refuse":
        scores = require_complete(scores)
    elif rule.missing == "common_tasks":
        num_backbones = scores["backbone"].n_unique()
        scores = scores.filter(pl.col("backbone").n_unique().over("task") == num_backbones)
    if scores.is_empty():
        raise EmptyInputError("no score is left to rank; allow missing ones, or leave a backbone out.")
    ranked = scores.pipe(zscore_within_task, ddof=int(rule.deviation == "sample")).pipe(rank_within_task)
    counts = overall(ranked).select("backbone", "mean_rank", "num_tasks", "is_complete")
    by_category = category_zscores(ranked, zero_for_missing=rule.missing == "zero")
    return (
        overall_zscores(by_category, rule.mean)
        .join(counts, on="backbone")
        .join(_beside(by_category), on="backbone")
        .sort("overall_rank", "backbone")
    )


def category_zscores(ranked: pl.DataFrame, *, zero_for_missing: bool = False) -> pl.DataFrame:
    """Mean z-score per backbone and category: backbone, category, zscore, num_tasks, sum of z-scores `total`.

    Args:
        ranked: columns read: backbone, task, category, zscore.
        zero_for_missing: count a pair without z-score as 0 instead of leaving it out.
    """
    if zero_for_missing:
        tasks = ranked.select("task", "category").unique()
        every = ranked.select("backbone").unique().join(tasks, how="cross")
        ranked = every.join(
            ranked.select("backbone", "task", "zscore"), on=["backbone", "task"], how="left"
        ).with_columns(pl.col("zscore").fill_null(0.0))
    return (
        ranked.group_by("backbone", "category")
        .agg(total=pl.col("zscore").sort().sum(), num_tasks=pl.len())
        .with_columns(zscore=(pl.col("total") / pl.col("num_tasks")).round(12))
        .sort("backbone", "category")
    )


def overall_zscores(by_category: pl.DataFrame, mean: Mean) -> pl.DataFrame:
    """Mean z-score and rank per backbone: backbone, mean_zscore, overall_rank (equals share the smaller)."""
    macro = pl.col("zscore").sort().mean()
    micro = pl.col("total").sort().sum() / pl.col("num_tasks").sum()
    return (
        by_category.group_by("backbone")
        .agg(mean_zscore=(macro if mean == "macro" else micro).round(12))
        .select(
            pl.col("mean_zscore").rank("min", descending=True).alias("overall_rank"),
            "backbone",
            "mean_zscore",
        )
        .sort("overall_rank", "backbone")
    )


def on_a_budget(standing: pl.DataFrame, facts: pl.DataFrame, *, max_params_m: float) -> pl.DataFrame:
    """The rows of `standing` with at most `max_params_m` million parameters, ranked again among themselves.

    The z-scores stay those among all backbones, as in the paper. Backbones of unknown size are left out.

    Args:
        standing: columns read: backbone, mean_zscore.
        facts: columns read: backbone, params_m.
        max_params_m: millions of parameters; the paper's small tier is below 30.
    """
    small = facts.filter(pl.col("params_m") <= max_params_m).select("backbone", "params_m")
    return (
        standing.join(small, on="backbone")
        .with_columns(overall_rank=pl.col("mean_zscore").rank("min", descending=True))
        .sort("overall_rank", "backbone")
    )


def rules_compared(
    scores: pl.DataFrame, *, random_init: tuple[str, ...] = (), missing: Missing = "refuse"
) -> pl.DataFrame:
    """Whether the ranking depends on the open choices: one row per rule.

    Columns: deviation, mean, with_random_init, best, kendall_tau (τ-b against the default rule over the
    backbones that both rank, in [−1, 1]), num_moved (how many of them have another rank).
    """
    default = standing_by(scores, RankingRule(missing=missing), random_init=random_init)
    choices = product(("sample", "population"), ("macro", "micro"), (True, False) if random_init else (True,))
    rows = []
    for deviation, mean, with_random_init in choices:
        rule = replace(
            RankingRule(missing=missing),
            deviation=deviation,  # type: ignore[arg-type]
            mean=mean,  # type: ignore[arg-type]
            with_random_init=with_random_init,
        )
        other = standing_by(scores, rule, random_init=random_init)
        rows.append(
            {
                "deviation": deviation,
                "mean": mean,
                "with_random_init": with_random_init,
                "best": other["backbone"][0],
                **_agreement(default, other),
            }
        )
    return pl.DataFrame(rows)


def _agreement(one: pl.DataFrame, other: pl.DataFrame) -> dict[str, float]:
    from scipy.stats import kendalltau  # Deferred: plain rankings start without scipy.

    both = one.join(other.select("backbone", mean_other="mean_zscore"), on="backbone")
    ranks = both.select(
        here=pl.col("mean_zscore").rank("min", descending=True),
        there=pl.col("mean_other").rank("min", descending=True),
    )
    num_moved = ranks.filter(pl.col("here") != pl.col("there")).height
    if ranks["here"].n_unique() == 1 or ranks["there"].n_unique() == 1:
        return {"kendall_tau": 1.0 if num_moved == 0 else 0.0, "num_moved": num_moved}
    tau = float(kendalltau(ranks["here"].to_list(), ranks["there"].to_list()).statistic)
    return {"kendall_tau": tau, "num_moved": num_moved}


def _beside(by_category: pl.DataFrame) -> pl.DataFrame:
    wide = by_category.sort("category").pivot("category", index="backbone", values="zscore")
    return wide.rename({name: f"z_{name}" for name in wide.columns if name != "backbone"})
