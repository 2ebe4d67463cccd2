"""`raybench report`: results → one self-contained HTML file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.catalog.evaluators import EVALUATORS
from raybench.core.errors import EmptyInputError, MissingMeasurementError
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.report_data import ReportData, gather
from raybench.report.gather.sources import Results
from raybench.report.render.page import render
from raybench.report.render.parts import Absent, Part, Section
from raybench.report.sections import (
    best_backbone,
    effective_robustness,
    evaluators,
    finetuning_gain,
    hyperparameters,
    overall_ranking,
    pretraining,
    provenance,
    ranking_stability,
    reported_results,
    scaling,
    score_and_cost,
    search_budget,
    task_correlation,
)
from raybench.store.files import write_atomic

Entry = tuple[str, str, Callable[[ReportData], Sequence[Part]]]
"""Anchor, title and builder of a section."""

ON_SCORES: tuple[Entry, ...] = (
    ("decision", "Which backbone?", best_backbone.decision),
    ("ranking", "Ranking", overall_ranking.ranking),
    ("scores", "Backbones by tasks", overall_ranking.score_table),
    ("wins", "P(A beats B)", overall_ranking.win_matrix),
    ("differences", "Critical difference", ranking_stability.differences),
    ("pareto", "Score and cost", score_and_cost.pareto),
    ("budget", "Best backbone within a size limit", score_and_cost.size_limits),
    ("scaling", "Scaling by family", scaling.scaling),
    ("pretraining", "Same architecture, different pretraining", pretraining.same_architecture),
    ("protocols", "Linear probe or fine-tuning?", finetuning_gain.finetuning_gain),
    ("correlations", "Correlation between tasks", task_correlation.correlations),
)
ON_RELIABILITY: tuple[Entry, ...] = (
    ("robustness", "Effective robustness", effective_robustness.robustness_beyond_accuracy),
    ("search", "Was the search long enough?", search_budget.search_budget),
    ("gain", "Gain from tuning", search_budget.tuning_gain),
    ("importance", "Which hyperparameters matter?", hyperparameters.importance),
    ("edges", "Are best values on an edge of the search space?", hyperparameters.edges),
    ("stopping", "Cost of early stopping", search_budget.early_stopping),
    ("choices", "Does the ranking depend on the rule?", ranking_stability.rules),
    ("tasks", "Does the ranking depend on single tasks?", ranking_stability.single_tasks),
    ("references", "Comparison with the paper", reported_results.reported_results),
    ("provenance", "Provenance", provenance.provenance),
)


def entries() -> tuple[Entry, ...]:
    """All sections in the page's order; every row of EVALUATORS has one."""
    of_evaluators = tuple(
        (f"evaluator-{name}", info.section, partial(evaluators.evaluator_section, name=name))
        for name, info in EVALUATORS.items()
    )
    return (*ON_SCORES, *of_evaluators, *ON_RELIABILITY)


def write_report(
    results: Results,
    output: Path,
    criterion: Criterion | None = None,
    rule: RankingRule | None = None,
) -> None:
    """Write the report atomically.

    Raises:
        RaybenchError: as `report_html`, and if the file cannot be written.
    """
    html = report_html(results, criterion, rule)
    write_atomic(output, lambda file: file.write(html.encode()))


def report_html(results: Results, criterion: Criterion | None = None, rule: RankingRule | None = None) -> str:
    """The page; the same results give the same text.

    Arguments and errors are those of `ranking.rank_results`.
    """
    report_data = gather(results, criterion, rule)
    ranking, num_backbones = report_data.ranking, report_data.overall.height
    on_tasks = f"{num_backbones} backbones on {len(ranking.tasks)} tasks{ranking.under_condition}"
    subtitle = f"{on_tasks} · {', '.join(results.names)}"
    sections = [Section(anchor, title, _parts(build, report_data)) for anchor, title, build in entries()]
    return render(f"raybench: {', '.join(results.experiments)}", subtitle, sections)


def _parts(build: Callable[[ReportData], Sequence[Part]], report_data: ReportData) -> Sequence[Part]:
    """The section's parts, or the reason why it is empty."""
    try:
        return build(report_data)
    except (EmptyInputError, MissingMeasurementError) as error:
        return [Absent(str(error))]
