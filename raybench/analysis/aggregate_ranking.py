"""Scores → a ranking, with every choice that the paper leaves open said outright.

The defaults, those of `raybench rank` too: sample deviation, every task weighs the same, backbones without
pretraining count like any other, lower-is-better metrics have their sign turned, and incomplete tables are
refused.

Why every task and not every category: of what is at hand, the paper says that z-scores of settings are
averaged, and names no weighting by category. Its retrieval table is of one category, where both are the same.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, TypeVar

import polars as pl

from raybench.analysis.scores import require_complete
from raybench.analysis.zscores import Mean, add_missing_as_zero, overall, rank_within_task, zscore_within_task
from raybench.core.errors import EmptyInputError

Deviation = Literal["sample", "population"]
Missing = Literal["refuse", "mean_of_rest", "zero", "common_tasks"]
Choice = TypeVar("Choice")
LowerIsBetter = Literal["turned", "as_is"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRule:
    """The open choices of the paper's rule; each field's default is raybench's."""

    deviation: Deviation = "sample"
    """By n − 1 or by n."""
    mean: Mean = "micro"
    """`micro`: every task weighs the same; `macro`: mean over categories of the mean over their tasks."""
    with_random_init: bool = True
    """False leaves backbones without pretraining out, of the means and deviations and of the ranking."""
    missing: Missing = "refuse"
    """`mean_of_rest`: over the tasks there are; `zero`: a missing z-score is 0, the task's average;
    `common_tasks`: only tasks that every backbone has."""
    lower_is_better: LowerIsBetter = "turned"
    """`turned`: z-scores change sign where lower is better; `as_is`: they do not; higher is worse there."""

    @property
    def ddof(self) -> int:
        """What is subtracted from n in the deviation."""
        return int(self.deviation == "sample")

    @property
    def turns_sign(self) -> bool:
        return self.lower_is_better == "turned"


def eligible_scores(
    scores: pl.DataFrame, rule: RankingRule, *, random_init: tuple[str, ...] = ()
) -> pl.DataFrame:
    """The rows of `scores` that the rule counts, with a `category` (absent: all tasks are of one, "all").

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
    """Add `zscore` and `rank` within each task; what `eligible_scores` left goes in."""
    return scores.pipe(zscore_within_task, ddof=rule.ddof, turns_sign=rule.turns_sign).pipe(rank_within_task)


def aggregate_tasks(
    ranked: pl.DataFrame, rule: RankingRule, expected: pl.DataFrame | None = None
) -> pl.DataFrame:
    """`overall` by the rule's mean, and one column `z_CATEGORY` per category where there are several.

    Args:
        ranked: as `rank_by_rule` gives it.
        expected: pairs that ought to be there, columns backbone and task.
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
    """Rank scores by one rule; the result is as `aggregate_tasks` gives it.

    Args:
        scores: columns read: backbone, task, direction ("min" or "max"), value; category (absent: all tasks
            are of one category, and macro equals micro).
        rule: the open choices; None takes the defaults.
        random_init: names of the backbones without pretraining.

    Raises:
        MissingMeasurementError: if a pair has no score and the rule refuses that.
        EmptyInputError: if nothing is left to rank.
    """
    rule = rule or RankingRule()
    counted = eligible_scores(scores, rule, random_init=random_init)
    if rule.missing == "refuse":
        require_complete(counted)
    return aggregate_tasks(rank_by_rule(counted, rule), rule)


def category_zscores(ranked: pl.DataFrame, *, zero_for_missing: bool = False) -> pl.DataFrame:
    """Mean z-score per backbone and category: backbone, category, zscore, num_tasks.

    Args:
        ranked: columns read: backbone, task, category, zscore.
        zero_for_missing: count a pair without z-score as 0 instead of leaving it out.
    """
    counted = add_missing_as_zero(ranked) if zero_for_missing else ranked
    return (
        counted.group_by("backbone", "category")
        .agg(zscore=pl.col("zscore").sort().mean().round(12), num_tasks=pl.len())
        .sort("backbone", "category")
    )


def rank_within_size(ranking: pl.DataFrame, facts: pl.DataFrame, *, max_params_m: float) -> pl.DataFrame:
    """The rows of `ranking` with at most `max_params_m` million parameters, ranked again among themselves.

    The z-scores stay those among all backbones, as in the paper. Backbones of unknown size are left out.

    Args:
        ranking: columns read: backbone, mean_zscore.
        facts: columns read: backbone, params_m.
        max_params_m: millions of parameters; the paper's small tier is below 30.
    """
    small = facts.filter(pl.col("params_m") <= max_params_m).select("backbone", "params_m")
    return (
        ranking.join(small, on="backbone")
        .with_columns(overall_rank=pl.col("mean_zscore").rank("min", descending=True))
        .sort("overall_rank", "backbone")
    )


def compare_rules(
    scores: pl.DataFrame, *, random_init: tuple[str, ...] = (), default: RankingRule | None = None
) -> pl.DataFrame:
    """Whether the ranking depends on the open choices: one row per rule, the default's own first.

    Columns: deviation, mean, with_random_init, best, kendall_tau (τ-b against the default rule over the
    backbones that both rank, in [−1, 1]), num_moved (how many of them have another rank). A choice that can
    change nothing here (no backbone without pretraining) is not varied, and signs are turned or not as the
    default has it: which way is better is no matter of taste.

    Args:
        scores: as in `aggregate_ranking`.
        random_init: names of the backbones without pretraining.
        default: what the others are compared with; None takes raybench's.
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
    return (chosen, *(choice for choice in choices if choice != chosen))


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
