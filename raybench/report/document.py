"""`raybench report`: storages or a published table → one self-contained HTML file."""

from collections.abc import Callable, Sequence
from pathlib import Path

from raybench.errors import EmptyInputError, MissingMeasurementError
from raybench.report import background_sections as background
from raybench.report import ranking_sections as first
from raybench.report import relation_sections as relations
from raybench.report.evidence import Evidence, gather, gather_published
from raybench.report.page import Absent, Part, Section, render
from raybench.report.published import PREFIX
from raybench.storage import write_whole

SECTIONS: tuple[tuple[str, str, Callable[[Evidence], Sequence[Part]]], ...] = (
    ("decision", "Which backbone?", first.decision),
    ("ranking", "Ranking", first.ranking),
    ("scores", "Backbones by tasks", first.score_table),
    ("wins", "P(A beats B)", first.win_matrix),
    ("differences", "Critical difference", first.differences),
    ("pareto", "Score and cost", relations.pareto),
    ("scaling", "Scaling by family", relations.scaling),
    ("correlations", "Which tasks go together", relations.correlations),
    ("robustness", "Reliability and robustness", background.robustness),
    ("search", "Was the search long enough?", background.search_budget),
    ("gain", "What tuning gained", background.tuning_gain),
    ("choices", "Does the ranking depend on its rule?", first.choices),
    ("tasks", "Does it depend on single tasks?", first.single_tasks),
    ("references", "Beside the paper", background.references),
    ("provenance", "Provenance", background.provenance),
)
"""Anchor, title and maker of every section, in the page's order."""


def write_report(
    sources: Sequence[str | Path], output: Path, *, experiment: str | None = None, allow_missing: bool = False
) -> None:
    """Write the report of storages, or of one published table, whole or not at all.

    Raises:
        RaybenchError: as `report_html`, and if the file cannot be written.
    """
    html = report_html(sources, experiment=experiment, allow_missing=allow_missing)
    write_whole(output, lambda file: file.write(html.encode()))


def report_html(
    sources: Sequence[str | Path], *, experiment: str | None = None, allow_missing: bool = False
) -> str:
    """The page; the same results give the same text.

    Args:
        sources: storages, which are united, or one `published:NAME`.
        experiment: only this one.
        allow_missing: rank an incomplete table, marked as such.

    Raises:
        EmptyInputError: if nothing was measured, or a published table is named among others.
        MissingMeasurementError: if a pair has no score, unless `allow_missing`.
        StorageError, DuplicateMeasurementError: if results cannot be read or contradict each other.
    """
    names = [str(source) for source in sources]
    tables = [name for name in names if name.startswith(PREFIX)]
    if tables and len(names) > 1:
        raise EmptyInputError(f"{tables[0]!r} cannot be united with {len(names) - 1} more; report it alone.")
    if tables:
        evidence = gather_published(tables[0].removeprefix(PREFIX))
    else:
        evidence = gather([Path(name) for name in names], experiment=experiment, allow_missing=allow_missing)
    num_backbones, num_tasks = evidence.standing.height, evidence.scores["task"].n_unique()
    subtitle = f"{num_backbones} backbones on {num_tasks} tasks · {', '.join(evidence.sources)}"
    sections = [Section(anchor, title, _parts(make, evidence)) for anchor, title, make in SECTIONS]
    return render(f"raybench: {evidence.title}", subtitle, sections)


def _parts(make: Callable[[Evidence], Sequence[Part]], evidence: Evidence) -> Sequence[Part]:
    """A section never vanishes: what it lacks is said in its place."""
    try:
        return make(evidence)
    except (EmptyInputError, MissingMeasurementError) as error:
        return [Absent(str(error))]
