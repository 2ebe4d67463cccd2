"""The sections on who is best and how sure that is: `ReportData` → parts of a page."""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.aggregate_ranking import compare_rules
from raybench.analysis.alternatives import (
    alternative_rankings,
    critical_difference,
    friedman,
    indistinct_groups,
    ranking_agreement,
)
from raybench.analysis.stability import leave_one_task_out, predictive_tasks, rank_ranges
from raybench.analysis.zscores import add_task_columns
from raybench.core.errors import EmptyInputError
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Listing, Part, Table, Text

SURE = 0.95
FIRST = (
    *("overall_rank", "backbone", "mean_zscore", "zscore_low", "zscore_high", "rank_low", "rank_high"),
    *("p_first", "p_top", "mean_rank"),
)
"""Columns of the ranking that a narrow page shows without scrolling far."""


def decision(evidence: ReportData) -> Sequence[Part]:
    """Who is best in words, with the doubt."""
    overall = evidence.aggregate_ranking.drop_nulls("mean_zscore")
    best = overall["backbone"][0]
    num_tasks = evidence.scores["task"].n_unique()
    place = "the only backbone" if overall.height == 1 else f"first of {overall.height} backbones"
    said: list[Part] = [
        Text(f"{best} is {place} over {num_tasks} task{'s' if num_tasks != 1 else ''}, by mean z-score.")
    ]
    if evidence.replicates is None:
        return [*said, *_at_a_glance(evidence), Text(evidence.uncertainty_note), *_marks(evidence)]
    intervals = evidence.uncertainty.ranking_intervals()
    first = intervals.filter(backbone=best).row(0, named=True)
    wins = evidence.uncertainty.win_probabilities().filter(backbone=best)
    rivals = wins.filter(pl.col("probability") < SURE).sort("probability", "other")
    said.append(
        Text(
            f"P({best} is best) = {first['p_first']:.2f}. With 95 % confidence its rank lies between "
            f"{first['rank_low']:g} and {first['rank_high']:g}."
        )
    )
    if rivals.is_empty():
        said.append(Text("It beats every other backbone in at least 95 % of bootstrap replicates."))
    else:
        said.append(
            Text("It cannot be told apart from these, which it beats in less than 95 % of replicates:")
        )
        rows = rivals.select("other", "probability").iter_rows()
        said.append(Listing([f"{other}: {best} wins with P = {p:.2f}" for other, p in rows]))
    return [*said, *_at_a_glance(evidence), Text(evidence.uncertainty_note), *_marks(evidence)]


def _at_a_glance(evidence: ReportData) -> list[Part]:
    """The best of every family, and of every size that leaves the best of all out."""
    overall = evidence.aggregate_ranking.drop_nulls("mean_zscore")
    known = overall.join(evidence.facts, on="backbone", maintain_order="left")
    first = overall["backbone"][0]
    found = [
        f"best {family}: {name} (number {rank} of all)"
        for family, name, rank in known.filter(
            pl.col("family").is_not_null() & (pl.col("family") != "unknown")
        )
        .unique("family", keep="first", maintain_order=True)
        .select("family", "backbone", "overall_rank")
        .iter_rows()
        if name != first
    ]
    own = known["params_m"][0]
    smaller = known.filter(pl.col("params_m") <= (own or 0.0) / 2).head(1)
    if smaller.height:
        name, rank, size = smaller.select("backbone", "overall_rank", "params_m").row(0)
        found.append(
            f"best of at most half its size ({own:.3g} M): {name} (number {rank} of all, {size:.3g} M)"
        )
    return [Listing(found)] if found else []


def _marks(evidence: ReportData) -> list[Part]:
    if not evidence.missing:
        return []
    names = [f"{pair.backbone} on {pair.task}" for pair in evidence.missing]
    return [
        Text(
            "This ranking is incomplete: backbones are ranked over different tasks where a pair has no score."
        ),
        Listing([f"no score: {name}" for name in names]),
    ]


def ranking(evidence: ReportData) -> Sequence[Part]:
    """The aggregate ranking with intervals."""
    overall = evidence.aggregate_ranking
    if evidence.replicates is not None:
        intervals = evidence.uncertainty.ranking_intervals()
        columns = ["zscore_low", "zscore_high", "rank_low", "rank_high", "p_first", "p_top"]
        overall = overall.join(
            intervals.select("backbone", *columns), on="backbone", how="left", maintain_order="left"
        )
        drawn = intervals.rename({"mean_zscore": "measured"})
        drawing = charts.intervals(
            drawn, "measured", "zscore_low", "zscore_high", "mean z-score, 95 % interval"
        )
    else:
        drawing = charts.bars(overall.drop_nulls("mean_zscore"), "mean_zscore", "mean z-score (no interval)")
    order = ", ".join(overall["backbone"].head(5))
    return [
        Text(
            "A z-score says by how many standard deviations a backbone is better than the task's mean; "
            "the ranking is by its mean over tasks. p top: probability of being among the first three."
        ),
        Figure(drawing, f"Mean z-score per backbone. Best first: {order}.", "Mean z-score over tasks."),
        Table(
            overall.select(*(name for name in FIRST if name in overall.columns), pl.exclude(FIRST)),
            "Ranking",
            "ranking",
        ),
    ]


def score_table(evidence: ReportData) -> Sequence[Part]:
    """Backbones × tasks."""
    order = evidence.aggregate_ranking["backbone"].to_list()
    tasks = evidence.scores["task"].unique().sort().to_list()
    drawing = charts.heat_map(
        evidence.ranked, x="task", y="backbone", value="zscore", order=(tasks, order), domain=(-2.0, 2.0)
    )
    values = evidence.scores.select("backbone", "task", "metric", "direction", "value", "num_seeds")
    if evidence.replicates is not None:
        found = evidence.uncertainty.score_intervals().select(
            "backbone", "task", "low", "high", "standard_error"
        )
        values = values.join(found, on=["backbone", "task"], how="left")
    metrics = evidence.scores.select("task", "metric").unique().sort("task").iter_rows()
    return [
        Text("Judged by: " + "; ".join(f"{task}: {metric}" for task, metric in metrics) + "."),
        Figure(
            drawing,
            "Heat map of z-scores, backbones by tasks; the table below holds the numbers.",
            "z-scores; blue is better.",
        ),
        Table(
            add_task_columns(evidence.aggregate_ranking.select("backbone"), evidence.ranked),
            "Scores on test",
            "scores_wide",
        ),
        Table(values.sort("task", "backbone"), "Scores with 95 % intervals", "scores", is_folded=True),
    ]


def win_matrix(evidence: ReportData) -> Sequence[Part]:
    """P(A beats B)."""
    if evidence.replicates is None:
        return [Absent(evidence.uncertainty_note)]
    wins = evidence.uncertainty.win_probabilities()
    order = evidence.uncertainty.ranking_intervals()["backbone"].to_list()
    drawing = charts.heat_map(
        wins, x="other", y="backbone", value="probability", order=(order, order), domain=(0.0, 1.0)
    )
    return [
        Figure(
            drawing,
            "Matrix of the probability that the row's backbone beats the column's.",
            "P(row beats column) in mean z-score.",
        ),
        Table(wins, "P(A beats B)", "win_probabilities", is_folded=True),
    ]


def differences(evidence: ReportData) -> Sequence[Part]:
    """Friedman's test and the critical-difference diagram."""
    scores = evidence.complete
    if scores["task"].n_unique() < 3:
        raise EmptyInputError(
            f"a critical-difference diagram needs 3 tasks or more, there are {scores['task'].n_unique()}."
        )
    test = friedman(scores)
    num_backbones, num_tasks = test["num_backbones"][0], test["num_tasks"][0]
    reach, groups = critical_difference(num_backbones, num_tasks), indistinct_groups(scores)
    ranks = alternative_rankings(scores).sort("mean_rank", "backbone").select("backbone", "mean_rank")
    drawing = charts.critical_difference_diagram(ranks, groups)
    verdict = (
        "not all backbones are equal" if test["p_value"][0] < 1 - SURE else "no difference is established"
    )
    return [
        Text(
            f"Friedman's test: χ² = {test['statistic'][0]:.2f}, p = {test['p_value'][0]:.3g}, so {verdict}. "
            f"Nemenyi's critical difference is {reach:.2f} ranks; bars join backbones within it. This test "
            "takes tasks as the sample and knows nothing of test examples."
        ),
        Figure(
            drawing,
            "Critical-difference diagram: mean ranks and groups that cannot be told apart.",
            "Mean rank over tasks.",
        ),
        Table(groups, "Groups that cannot be told apart", "indistinct_groups", is_folded=True),
    ]


def choices(evidence: ReportData) -> Sequence[Part]:
    """Does the ranking depend on the rule's open choices, or on the z-score itself?"""
    scores = evidence.complete
    rules = compare_rules(scores, random_init=evidence.random_init, default=evidence.rule)
    alternatives = alternative_rankings(scores)
    moved, bests = max(rules["num_moved"].to_list()), rules["best"].unique().sort().to_list()
    same = f"all name {bests[0]} as best" if len(bests) == 1 else f"the best is one of {', '.join(bests)}"
    return [
        Text(
            "The paper leaves some choices of its rule open; each row closes them in one way, compared with "
            f"the first row. Under them {same}, and up to {moved} backbones change their rank."
        ),
        Table(rules, "Rules compared", "rules_compared"),
        Text(
            "And without z-scores: mean rank, share of comparisons won, Bradley-Terry strength in Elo points."
        ),
        Table(alternatives, "Other ways to rank", "robust_standings"),
        Table(
            ranking_agreement(alternatives), "Do they agree? Kendall's τ", "rankings_agree", is_folded=True
        ),
    ]


def single_tasks(evidence: ReportData) -> Sequence[Part]:
    """Leave one task out."""
    scores = evidence.complete
    left_out = leave_one_task_out(scores)
    bests = left_out["best"].unique().sort().to_list()
    said = (
        f"{bests[0]} leads whichever task is left out"
        if len(bests) == 1
        else f"the leader is one of {', '.join(bests)}"
    )
    return [
        Text(f"With one task left out, {said}."),
        Table(left_out, "One task left out", "leave_one_task_out"),
        Table(
            rank_ranges(scores),
            "Best and worst rank when one task is left out",
            "rank_ranges",
            is_folded=True,
        ),
        Table(
            predictive_tasks(scores),
            "Few tasks that foretell the ranking on the others",
            "predictive_tasks",
            is_folded=True,
        ),
    ]
