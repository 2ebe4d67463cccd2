"""Does the ranking hold under tests, other rules, and without single tasks?"""

from collections.abc import Sequence

from raybench.analysis.aggregate_ranking import compare_rules
from raybench.analysis.alternatives import (
    alternative_rankings,
    critical_difference,
    friedman,
    indistinct_groups,
    ranking_agreement,
)
from raybench.analysis.stability import leave_one_task_out, predictive_tasks, rank_ranges
from raybench.core.errors import EmptyInputError
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Figure, Part, Table, Text
from raybench.report.sections.chart_selection import cut_note

SIGNIFICANCE = 0.05
MIN_TASKS = 3


def differences(report_data: ReportData) -> Sequence[Part]:
    """Friedman's test and the critical-difference diagram."""
    scores = report_data.complete_scores
    num_tasks = scores["task"].n_unique()
    if num_tasks < MIN_TASKS:
        raise EmptyInputError(
            f"a critical-difference diagram needs {MIN_TASKS} tasks or more, there are {num_tasks}."
        )
    test = friedman(scores).row(0, named=True)
    difference = critical_difference(test["num_backbones"], test["num_tasks"])
    groups = indistinct_groups(scores)
    ranks = alternative_rankings(scores).sort("mean_rank", "backbone").select("backbone", "mean_rank")
    shown, names = ranks.head(charts.MAX_ROWS), ranks["backbone"].to_list()
    is_significant = test["p_value"] < SIGNIFICANCE
    verdict = "not all backbones are equal" if is_significant else "no difference is established"
    return [
        Text(
            f"Friedman's test: χ² = {test['statistic']:.2f}, p = {test['p_value']:.3g}, so {verdict}. "
            f"Nemenyi's critical difference is {difference:.2f} ranks; bars join backbones within it. The "
            "test takes tasks as the sample and ignores the uncertainty that test examples bring."
        ),
        Figure(
            charts.critical_difference_diagram(shown, groups),
            "Critical-difference diagram: mean ranks and groups that cannot be told apart.",
            f"Mean rank over tasks.{cut_note(shown['backbone'].to_list(), names, 'backbones')}",
        ),
        Table(groups, "Groups that cannot be told apart", "indistinct_groups", is_folded=True),
    ]


def rules(report_data: ReportData) -> Sequence[Part]:
    """The ranking by other choices of the rule, and by methods without z-scores."""
    scores = report_data.complete_scores
    compared = compare_rules(
        scores, random_init=report_data.results.random_init, default=report_data.ranking.rule
    )
    alternatives = alternative_rankings(scores)
    most_moved, leaders = max(compared["num_moved"].to_list()), compared["best"].unique().sort().to_list()
    same = f"all of them name {leaders[0]} as best"
    agreed = same if len(leaders) == 1 else f"the best under them is one of {', '.join(leaders)}"
    agreement = ranking_agreement(alternatives)
    return [
        Text(
            "The paper leaves some choices of its rule open. The first row is the rule of this page; each "
            f"other row makes one choice differently: {agreed}, and up to {most_moved} backbones change "
            "their rank."
        ),
        Table(compared, "Rules compared", "rules_compared"),
        Text(
            "Rankings without z-scores: mean rank, share of comparisons won, Bradley-Terry strength in Elo "
            "points."
        ),
        Table(alternatives, "Other ways to rank", "robust_standings"),
        Table(agreement, "Agreement between these rankings, Kendall's τ", "rankings_agree", is_folded=True),
    ]


def single_tasks(report_data: ReportData) -> Sequence[Part]:
    """The ranking with one task left out."""
    scores = report_data.complete_scores
    left_out = leave_one_task_out(scores)
    leaders = left_out["best"].unique().sort().to_list()
    outcome = (
        f"{leaders[0]} leads whichever task is left out"
        if len(leaders) == 1
        else f"the leader is one of {', '.join(leaders)}"
    )
    ranges = rank_ranges(scores)
    return [
        Text(f"With one task left out, {outcome}."),
        Table(left_out, "One task left out", "leave_one_task_out"),
        Table(ranges, "Best and worst rank with one task left out", "rank_ranges", is_folded=True),
        Table(
            predictive_tasks(scores),
            "Small sets of tasks that best predict the ranking on the others",
            "predictive_tasks",
            is_folded=True,
        ),
    ]
