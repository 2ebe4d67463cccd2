"""`raybench report`: results → one self-contained HTML file."""

from collections.abc import Callable, Sequence
from pathlib import Path

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.core.errors import EmptyInputError, MissingMeasurementError
from raybench.report.gather.criteria import CLEAN, Criterion
from raybench.report.gather.report_data import ReportData, gather
from raybench.report.gather.sources import Results
from raybench.report.render.page import render
from raybench.report.render.parts import Absent, Part, Section
from raybench.report.sections import background, comparisons, relations, reliability
from raybench.report.sections import rankings as first
from raybench.report.sections import searches as search
from raybench.store.files import write_atomic

SECTIONS: tuple[tuple[str, str, Callable[[ReportData], Sequence[Part]]], ...] = (
    ("decision", "Which backbone?", first.decision),
    ("ranking", "Ranking", first.ranking),
    ("scores", "Backbones by tasks", first.score_table),
    ("wins", "P(A beats B)", first.win_matrix),
    ("differences", "Critical difference", first.differences),
    ("pareto", "Score and cost", relations.pareto),
    ("budget", "The best below a size", comparisons.budget),
    ("scaling", "Scaling by family", relations.scaling),
    ("pretraining", "Same architecture, other pretraining", comparisons.same_architecture),
    ("protocols", "Linear probe or fine-tuning?", comparisons.protocols),
    ("correlations", "Which tasks go together", relations.correlations),
    ("robustness", "Reliability and robustness", reliability.robustness),
    ("search", "Was the search long enough?", background.search_budget),
    ("gain", "What tuning gained", background.tuning_gain),
    ("importance", "Which hyperparameters matter?", search.importance),
    ("edges", "Are the best values on an edge?", search.edges),
    ("stopping", "What does stopping early cost?", search.stopping),
    ("choices", "Does the ranking depend on its rule?", first.choices),
    ("tasks", "Does it depend on single tasks?", first.single_tasks),
    ("references", "Comparison with the paper", background.references),
    ("provenance", "Provenance", background.provenance),
)
"""Anchor, title and maker of every section, in the page's order."""


def write_report(
    results: Results,
    output: Path,
    criterion: Criterion | None = None,
    rule: RankingRule | None = None,
) -> None:
    """Write the report, whole or not at all.

    Raises:
        RaybenchError: as `report_html`, and if the file cannot be written.
    """
    html = report_html(results, criterion, rule)
    write_atomic(output, lambda file: file.write(html.encode()))


def report_html(results: Results, criterion: Criterion | None = None, rule: RankingRule | None = None) -> str:
    """The page; the same results give the same text.

    Args:
        results: of one place or several.
        criterion: what to rank by; None takes every task's objective.
        rule: the open choices of the paper's rule; None takes the defaults.

    Raises:
        RaybenchError: as `ranking.rank_results`.
    """
    evidence = gather(results, criterion, rule)
    num_backbones, num_tasks = evidence.aggregate_ranking.height, evidence.scores["task"].n_unique()
    under = "" if evidence.condition == CLEAN else f" under {evidence.condition}"
    subtitle = f"{num_backbones} backbones on {num_tasks} tasks{under} · {', '.join(evidence.sources)}"
    sections = [Section(anchor, title, _parts(make, evidence)) for anchor, title, make in SECTIONS]
    return render(f"raybench: {evidence.title}", subtitle, sections)


def _parts(make: Callable[[ReportData], Sequence[Part]], evidence: ReportData) -> Sequence[Part]:
    """A section never vanishes: what it lacks is said in its place."""
    try:
        return make(evidence)
    except (EmptyInputError, MissingMeasurementError) as error:
        return [Absent(str(error))]
