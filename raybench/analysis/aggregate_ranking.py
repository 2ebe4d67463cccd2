"""Aggregate ranking over tasks, with the choices that the paper leaves open as explicit options.

Defaults, also of `raybench rank`: sample standard deviation, equal weight per task, backbones without
pretraining included, z-scores of lower-is-better metrics negated, incomplete tables refused.

Tasks and not categories have equal weight, because the paper averages the z-scores of settings and names no
weighting by category (Goldblum et al., NeurIPS 2023). Its retrieval table has one category only, where both
agree.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, TypeVar

import polars as pl

from raybench.analysis.correlation import kendall
from raybench.analysis.scores import require_complete
from raybench.analysis.zscores import Mean, add_missing_as_zero, overall, rank_within_task, zscore_within_task
from raybench.core.errors import EmptyInputError

Deviation = Literal["sample", "population"]
Missing = Literal["refuse", "mean_of_rest", "zero", "common_tasks"]
Choice = TypeVar("Choice")
LowerIsBetter = Literal["turned", "as_is"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRule:
    """Choices that the paper's ranking rule leaves open, with raybench's defaults."""

    deviation: Deviation = "sample"
    """Standard deviation with divisor n − 1 (`sample`) or n (`population`)."""
    mean: Mean = "micro"
    """`micro`: every task weighs the same; `macro`: mean over categories of the mean over their tasks."""
    with_random_init: bool = True
    """False excludes backbones without pretraining from means, deviations and the ranking."""
    missing: Missing = "refuse"
    """`mean_of_rest`: average over the tasks a backbone has; `zero`: a missing z-score is 0, the task's mean;
    `common_tasks`: use only tasks that every backbone has."""
    lower_is_better: LowerIsBetter = "turned"
    """`turned`: z-scores are negated where lower is better; `as_is`: they are not."""

    @property
    def ddof(self) -> int:
        """Delta degrees of freedom of the standard deviation."""
        return int(self.deviation == "sample")

    @property
    def turns_sign(self) -> bool:
        """Whether z-scores are negated where lower is better."""
        return self.lower_is_better == "turned"


def eligible_scores(
    scores: pl.DataFrame, rule: RankingRule, *, random_init: tuple[str, ...] = ()
) -> pl.DataFrame:
    """Select the scores that the rule counts, and add `category` ("all") if it is absent.

    Raises:
        EmptyInputError: if nothing is left to rank.
    """
    if not rule.with_random_init:
        scores = scores.filter(~pl.col("backbone").is_in(list(random_init)))
    if "category" not in scores.columns:
        scores = scores.with_columns(category=pl.lit("all"))
    if rule.missing == "common_tasks":
        num_backbones = scores["backbone"].n_unique()
        scores = scores.filter(pl.col("backbone").n_unique().over("task") == num_backbones)
    if scores.is_empty():
        raise EmptyInputError("no score is left to rank; allow missing ones, or leave a backbone out.")
    return scores


def rank_by_rule(scores: pl.DataFrame, rule: RankingRule) -> pl.DataFrame:
    """Add `zscore` and `rank` within each task to the scores from `eligible_scores`."""
    return scores.pipe(zscore_within_task, ddof=rule.ddof, turns_sign=rule.turns_sign).pipe(rank_within_task)


def aggregate_tasks(
    ranked: pl.DataFrame, rule: RankingRule, expected: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Average z-scores over tasks as in `overall`, with a column `z_CATEGORY` per category if several.

    Args:
        ranked: from `rank_by_rule`.
        expected: pairs that should have a score, columns backbone and task.
    """
    zero_for_missing = rule.missing == "zero"
    ranking = overall(ranked, expected, mean=rule.mean, zero_for_missing=zero_for_missing)
    if ranked["category"].n_unique() == 1:
        return ranking
    wide = (
        category_zscores(ranked, zero_for_missing=zero_for_missing)
        .sort("category")
        .pivot("category", index="backbone", values="zscore")
    )
    wide = wide.rename({name: f"z_{name}" for name in wide.columns if name != "backbone"})
    return ranking.join(wide, on="backbone", how="left", maintain_order="left")


def aggregate_ranking(
    scores: pl.DataFrame, rule: RankingRule | None = None, *, random_init: tuple[str, ...] = ()
) -> pl.DataFrame:
    """Rank backbones over all tasks by one rule; columns as in `aggregate_tasks`.

    Args:
        scores: columns read: backbone, task, direction ("min" or "max"), value; category (if absent, all
            tasks are in one category, and macro equals micro).
        rule: None uses the defaults.
        random_init: names of the backbones without pretraining.

    Raises:
        MissingMeasurementError: if a pair has no score and the rule's `missing` is `refuse`.
        EmptyInputError: if nothing is left to rank.
    """
    rule = rule or RankingRule()
    eligible = eligible_scores(scores, rule, random_init=random_init)
    if rule.missing == "refuse":
        require_complete(eligible)
    return aggregate_tasks(rank_by_rule(eligible, rule), rule)


def category_zscores(ranked: pl.DataFrame, *, zero_for_missing: bool = False) -> pl.DataFrame:
    """Mean z-score per backbone and category: backbone, category, zscore, num_tasks.

    Args:
        ranked: columns read: backbone, task, category, zscore.
        zero_for_missing: count a pair without z-score as 0 instead of excluding it.
    """
    ranked = add_missing_as_zero(ranked) if zero_for_missing else ranked
    return (
        ranked.group_by("backbone", "category")
        .agg(zscore=pl.col("zscore").sort().mean().round(12), num_tasks=pl.len())
        .sort("backbone", "category")
    )


def rank_within_size(ranking: pl.DataFrame, info: pl.DataFrame, *, max_params_m: float) -> pl.DataFrame:
    """Rank the backbones with at most `max_params_m` million parameters among themselves.

    Z-scores stay those among all backbones, as in the paper. Backbones of unknown size are excluded.

    Args:
        ranking: columns read: backbone, mean_zscore.
        info: columns read: backbone, params_m.
        max_params_m: millions of parameters; the paper's small tier is below 30.
    """
    small = info.filter(pl.col("params_m") <= max_params_m).select("backbone", "params_m")
    return (
        ranking.join(small, on="backbone")
        .with_columns(overall_rank=pl.col("mean_zscore").rank("min", descending=True))
        .sort("overall_rank", "backbone")
    )


def compare_rules(
    scores: pl.DataFrame, *, random_init: tuple[str, ...] = (), default: RankingRule | None = None
) -> pl.DataFrame:
    """Compare rankings by all combinations of the open choices, one row per rule, the default first.

    Columns: deviation, mean, with_random_init, best, kendall_tau (τ-b with the default ranking over the
    backbones that both rank, in [−1, 1]), num_moved (how many of them have another rank). `with_random_init`
    is varied only if there are backbones without pretraining; `lower_is_better` and `missing` are not varied.

    Args:
        scores: as in `aggregate_ranking`.
        random_init: names of the backbones without pretraining.
        default: the rule to compare with; None uses raybench's defaults.
    """
    default = default or RankingRule()
    base = aggregate_ranking(scores, default, random_init=random_init)
    rows = []
    for deviation, mean, with_random_init in product(
        _first(default.deviation, ("sample", "population")),
        _first(default.mean, ("micro", "macro")),
        _first(default.with_random_init, (True, False)) if random_init else (default.with_random_init,),
    ):
        rule = replace(default, deviation=deviation, mean=mean, with_random_init=with_random_init)
        other = aggregate_ranking(scores, rule, random_init=random_init)
        rows.append(
            {
                "deviation": deviation,
                "mean": mean,
                "with_random_init": with_random_init,
                "best": other["backbone"][0],
                **_agreement(base, other),
            }
        )
    return pl.DataFrame(rows)


def _first(chosen: Choice, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Move the chosen one to the front."""
    return (chosen, *(choice for choice in choices if choice != chosen))


def _agreement(one: pl.DataFrame, other: pl.DataFrame) -> dict[str, float]:
    both = one.join(other.select("backbone", mean_other="mean_zscore"), on="backbone")
    ranks = both.select(
        here=pl.col("mean_zscore").rank("min", descending=True),
        there=pl.col("mean_other").rank("min", descending=True),
    )
    num_moved = ranks.filter(pl.col("here") != pl.col("there")).height
    tau = kendall(ranks["here"].to_list(), ranks["there"].to_list())
    if tau is None:  # One of the rankings is all ties.
        tau = 1.0 if num_moved == 0 else 0.0
    return {"kendall_tau": tau, "num_moved": num_moved}
