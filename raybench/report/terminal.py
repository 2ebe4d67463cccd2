"""The ranking as text: a table for people, JSON and CSV for programs, Markdown for pages."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from raybench import ledger
from raybench.analysis.ranking import beside_tasks, overall, rank_within_task, zscore_within_task
from raybench.analysis.scores import missing_pairs, require_complete, select_scores
from raybench.errors import EmptyInputError, MissingMeasurementError, UnknownNameError
from raybench.metrics import METRICS
from raybench.records import Pair
from raybench.registry import suggest
from raybench.report.categories import CLEAN, headline
from raybench.report.columns import NO_VALUE, aligned, markdown
from raybench.results import measured_experiments, read_measurements


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What the formats show."""

    experiments: list[str]
    ranked: pl.DataFrame
    """Per backbone and task: metric, direction, value, num_seeds, zscore, rank."""
    standing: pl.DataFrame
    """Per backbone, best first."""
    missing: list[Pair]
    """Pairs without a score; empty unless asked to rank without them."""
    condition: str = CLEAN
    """What was done to the images."""

    @property
    def tasks(self) -> Mapping[str, str]:
        """Task → the metric it is judged by, sorted by task."""
        return dict(self.ranked.select("task", "metric").unique().sort("task").iter_rows())


def rank_storage(
    storage: Path,
    *,
    experiment: str | None = None,
    metric: str | None = None,
    category: str | None = None,
    condition: str | None = None,
    output_format: str = "table",
    allow_missing: bool = False,
    ddof: int = 1,
) -> str:
    """Rank the backbones measured on a storage by z-score, and write the ranking out.

    Args:
        storage: folder that `raybench run` filled.
        experiment: only this one; None takes all, if they do not contradict each other.
        metric: judge every task by this metric; None takes each task's objective.
        category: an evaluator: judge the tasks it has measured by its headline metric.
        condition: count measurements under this condition only; None takes `clean`, or the category's own.
        output_format: a key of FORMATS.
        allow_missing: rank an incomplete table all the same, and mark what is missing.
        ddof: 1 for the sample's standard deviation in the z-scores, 0 for the population's.

    Returns:
        The text, without a newline at the end. Percent for people (`table`, `markdown`), fractions
        for programs (`json`, `csv`).

    Raises:
        UnknownNameError: if there is no such experiment, metric or format.
        EmptyInputError: if nothing was measured yet.
        MissingMeasurementError: if a pair has no score, with the reason, unless `allow_missing`.
        StorageError: if the storage cannot be read.
    """
    if output_format not in FORMATS:
        hint = suggest(output_format, FORMATS) or "."
        raise UnknownNameError(f"unknown format {output_format!r}{hint} There are {', '.join(FORMATS)}.")
    ranking = rank_measured(
        storage,
        experiment=experiment,
        metric=metric,
        category=category,
        condition=condition,
        allow_missing=allow_missing,
        ddof=ddof,
    )
    return FORMATS[output_format](ranking)


def rank_measured(
    storage: Path,
    *,
    experiment: str | None = None,
    metric: str | None = None,
    category: str | None = None,
    condition: str | None = None,
    allow_missing: bool = False,
    ddof: int = 1,
) -> Ranking:
    """The ranking that `rank_storage` writes out, as frames."""
    measurements = _read(storage, experiment)
    experiments = measurements["experiment"].unique().sort().to_list()
    expected = _expected_pairs(storage, experiments)
    if category is not None:
        metric, condition = headline(measurements, category, condition)
        has_metric = measurements.filter(metric=metric, condition=condition)["task"].unique()
        expected = expected.filter(pl.col("task").is_in(has_metric.implode()))
    scores = select_scores(measurements, metric=metric, condition=condition or "clean")
    missing = [Pair(backbone=b, task=t) for b, t in missing_pairs(scores, expected).iter_rows()]
    if missing and not allow_missing:
        try:
            require_complete(scores, expected)
        except MissingMeasurementError as error:
            raise MissingMeasurementError(f"{error}{_why(storage, experiments, missing)}") from None
    ranked = scores.pipe(zscore_within_task, ddof=ddof).pipe(rank_within_task)
    return Ranking(
        experiments=experiments,
        ranked=ranked,
        standing=overall(ranked, expected),
        missing=missing,
        condition=condition or CLEAN,
    )


def _read(storage: Path, experiment: str | None) -> pl.DataFrame:
    measurements = read_measurements(storage, experiment)
    if measurements.height:
        return measurements
    known = sorted({*ledger.experiments(storage), *measured_experiments(storage)})
    if experiment is not None and experiment not in known:
        hint = suggest(experiment, known) or "."
        raise UnknownNameError(
            f"no experiment {experiment!r} in {str(storage)!r}{hint} It holds {', '.join(known) or 'none'}."
        )
    raise EmptyInputError(
        f"nothing is measured in {str(storage)!r} yet; `raybench run` an experiment with this storage first."
    )


def _expected_pairs(storage: Path, experiments: list[str]) -> pl.DataFrame:
    """Every pair that the stored specs ask for: a backbone that failed everywhere left no measurement."""
    pairs = []
    for experiment in experiments:
        spec = ledger.load_spec(storage, experiment) or {}
        pairs += [
            (info["name"], task) for info in spec.get("backbones", ()) for task in spec.get("tasks", ())
        ]
    return pl.DataFrame(pairs, schema={"backbone": pl.String, "task": pl.String}, orient="row")


def _why(storage: Path, experiments: list[str], missing: list[Pair]) -> str:
    """What the ledger says of the first missing pair, and what several experiments have to do with it."""
    reasons = [
        record.reason
        for experiment in experiments
        for record in ledger.read_records(storage, experiment, pair=missing[0])
        if record.status == "failed"
    ]
    why = f" {missing[0].backbone!r} on {missing[0].task!r} failed: {reasons[-1]}" if reasons else ""
    if len(experiments) > 1:
        why += f" This storage holds {len(experiments)} experiments; choose one with `--experiment`."
    return why


def _as_table(ranking: Ranking) -> str:
    rows = _readable_rows(ranking)
    legend: list[str] = []
    if len(aligned(rows).partition("\n")[0]) > shutil.get_terminal_size((120, 24)).columns:
        tasks = {task: f"[{number}]" for number, task in enumerate(ranking.tasks, 1)}
        rows = [{tasks.get(name, name): cell for name, cell in row.items()} for row in rows]
        legend = [f"{number} {task}" for task, number in tasks.items()]
    return "\n".join([_heading(ranking), "", aligned(rows), "", *legend, *_notes(ranking)])


def _as_markdown(ranking: Ranking) -> str:
    return "\n\n".join(
        [
            _heading(ranking),
            markdown(_readable_rows(ranking)),
            *(note.replace("*", "\\*") for note in _notes(ranking)),
        ]
    )


def _as_csv(ranking: Ranking) -> str:
    """One line per backbone; per task its value, z-score and rank, each a column of its own."""
    frame = ranking.standing
    for column in ("value", "zscore", "rank"):
        beside = beside_tasks(ranking.standing.select("backbone"), ranking.ranked, column)
        names = {
            task: f"{task}/{ranking.tasks[task] if column == 'value' else column}" for task in ranking.tasks
        }
        frame = frame.join(beside.rename(names), on="backbone", maintain_order="left")
    return frame.write_csv().rstrip("\n")


def _as_json(ranking: Ranking) -> str:
    columns = ("metric", "value", "num_seeds", "zscore", "rank")
    tasks: dict[str, dict[str, Any]] = {}
    for row in ranking.ranked.sort("backbone", "task").iter_rows(named=True):
        tasks.setdefault(row["backbone"], {})[row["task"]] = {name: row[name] for name in columns}
    content = {
        "experiments": ranking.experiments,
        "tasks": {
            task: {"metric": name, "direction": METRICS[name].direction}
            for task, name in ranking.tasks.items()
        },
        "ranking": [
            row | {"tasks": tasks.get(row["backbone"], {})} for row in ranking.standing.iter_rows(named=True)
        ],
        "missing": [{"backbone": pair.backbone, "task": pair.task} for pair in ranking.missing],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


FORMATS: Mapping[str, Callable[[Ranking], str]] = {
    "table": _as_table,
    "json": _as_json,
    "csv": _as_csv,
    "markdown": _as_markdown,
}


def _heading(ranking: Ranking) -> str:
    num_seeds = ranking.ranked["num_seeds"].to_list()
    low, high = min(num_seeds), max(num_seeds)
    seeds = f"{low} seed{'s' if low != 1 else ''}" if low == high else f"{low} to {high} seeds"
    return (
        f"{', '.join(ranking.experiments)}: {_count(ranking.standing.height, 'backbone')} on "
        f"{_count(len(ranking.tasks), 'task')}, measured on test, mean over {seeds}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _readable_rows(ranking: Ranking) -> list[dict[str, str]]:
    """Rounded cells by column title, values as percent where the metric is a fraction."""
    rows = []
    for row in beside_tasks(ranking.standing, ranking.ranked).iter_rows(named=True):
        mark = "" if row["is_complete"] else "*"
        cells = {
            "rank": _cell(row["overall_rank"], "d"),
            "backbone": f"{row['backbone']}{mark}",
            "z-score": _cell(row["mean_zscore"], "+.2f"),
            "mean rank": _cell(row["mean_rank"], ".1f"),
        }
        for task, metric in ranking.tasks.items():
            cells[task] = _cell(row[task], ".3f" if not _is_fraction(metric) else ".2f", _is_fraction(metric))
        rows.append(cells)
    return rows


def _is_fraction(metric: str) -> bool:
    return METRICS[metric].bounds == (0.0, 1.0)


def _cell(value: float | None, pattern: str, is_percent: bool = False) -> str:
    if value is None:
        return NO_VALUE
    return format(100 * value if is_percent else value, pattern)


def _notes(ranking: Ranking) -> list[str]:
    by_metric: dict[str, list[str]] = {}
    for task, metric in ranking.tasks.items():
        by_metric.setdefault(metric, []).append(task)
    notes = []
    for metric, tasks in by_metric.items():
        unit = ", %" if _is_fraction(metric) else ""
        better = ", lower is better" if METRICS[metric].direction == "min" else ""
        where = "Under the tasks" if len(by_metric) == 1 else f"Under {', '.join(tasks)}"
        under = "" if ranking.condition == CLEAN else f" under {ranking.condition}"
        notes.append(f"{where}: {metric}{unit}{better}{under}.")
    notes.append("z-score: standard deviations above a task's mean over backbones, averaged over tasks.")
    if ranking.missing:
        names = ", ".join(f"{pair.backbone} on {pair.task}" for pair in ranking.missing[:5])
        more = f" and {len(ranking.missing) - 5} more" if len(ranking.missing) > 5 else ""
        notes.append(f"* Not comparable, ranked over fewer tasks. No score: {names}{more}.")
    return notes
