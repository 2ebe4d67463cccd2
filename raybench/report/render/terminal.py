"""The ranking as text: a table for people, JSON and CSV for programs, Markdown for pages."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.analysis.zscores import add_task_columns
from raybench.catalog.published import PublishedResults
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest
from raybench.metrics import METRICS
from raybench.report.gather.criteria import CLEAN, Criterion
from raybench.report.gather.published_tables import PublishedComparison
from raybench.report.gather.ranking import INTERVALS, SCORE_INTERVALS, Ranking, rank_results
from raybench.report.gather.sources import Results, read_results
from raybench.report.render.columns import NO_VALUE, Rows, aligned, markdown
from raybench.store.files import StoragePath


def rank_text(
    results: Results,
    criterion: Criterion | None = None,
    rule: RankingRule | None = None,
    *,
    output_format: str = "table",
    with_intervals: bool = False,
) -> str:
    """Rank the backbones of `results` by z-score, and write the ranking out.

    Args:
        results: of one place or several.
        criterion: what to rank by; None takes every task's objective.
        rule: the open choices of the paper's rule; None takes the defaults.
        output_format: a key of FORMATS; the table of a published source also lists what its text reports.
        with_intervals: add 95 % intervals of scores, z-scores and ranks, and the probability of being first.

    Returns:
        The text, without a newline at the end. Percent for people (`table`, `markdown`), fractions
        for programs (`json`, `csv`).

    Raises:
        UnknownNameError: if there is no such format.
        RaybenchError: as `ranking.rank_results`.
    """
    if output_format not in FORMATS:
        hint = suggest(output_format, FORMATS) or "."
        raise UnknownNameError(f"unknown format {output_format!r}{hint} There are {', '.join(FORMATS)}.")
    text = FORMATS[output_format](rank_results(results, criterion, rule, with_intervals=with_intervals))
    if output_format == "table" and results.published is not None:
        return f"{text}\n{_said(results.published)}"
    return text


def rank_storage(
    storage: StoragePath,
    *,
    experiment: str | None = None,
    metric: str | None = None,
    output_format: str = "table",
    allow_missing: bool = False,
) -> str:
    """`rank_text` of one storage by the default rule; `allow_missing` ranks an incomplete table, marked."""
    rule = RankingRule(missing="mean_of_rest" if allow_missing else "refuse")
    results = read_results([storage], experiment=experiment)
    return rank_text(results, Criterion(metric=metric), rule, output_format=output_format)


def _said(paper: PublishedResults) -> str:
    """The citation, and numbers of the text with how certain each is."""
    rows = [
        {"reported": s.quantity, "for": s.setting, "value": f"{s.value:g}", "certainty": s.certainty}
        for s in paper.scalars
    ]
    return "\n".join([f"Source: {paper.citation}", "", aligned(rows)])


def _as_table(ranking: Ranking) -> str:
    rows = _readable_rows(ranking)
    legend: list[str] = []
    if len(aligned(rows).partition("\n")[0]) > shutil.get_terminal_size((120, 24)).columns:
        tasks = {task: f"[{number}]" for number, task in enumerate(ranking.tasks, 1)}
        rows = [{tasks.get(name, name): cell for name, cell in row.items()} for row in rows]
        legend = [f"{number} {task}" for task, number in tasks.items()]
    comparisons = [line for found in ranking.comparisons for line in ["", *_comparison(found, aligned)]]
    return "\n".join([_heading(ranking), "", aligned(rows), "", *legend, *_notes(ranking), *comparisons])


def _as_markdown(ranking: Ranking) -> str:
    return "\n\n".join(
        [
            _heading(ranking),
            markdown(_readable_rows(ranking)),
            *(note.replace("*", "\\*") for note in _notes(ranking)),
            *(part for found in ranking.comparisons for part in _comparison(found, markdown)),
        ]
    )


def _as_csv(ranking: Ranking) -> str:
    """One line per backbone; per task its value, z-score and rank, each a column of its own."""
    frame = ranking.aggregate_ranking
    for column in ("value", *_cell_intervals(ranking), "zscore", "rank"):
        wide = add_task_columns(ranking.aggregate_ranking.select("backbone"), ranking.ranked, column)
        names = {
            task: f"{task}/{ranking.tasks[task] if column == 'value' else column}" for task in ranking.tasks
        }
        frame = frame.join(wide.rename(names), on="backbone", maintain_order="left")
    return frame.write_csv().rstrip("\n")


def _as_json(ranking: Ranking) -> str:
    columns = ("metric", "value", *_cell_intervals(ranking), "num_seeds", "zscore", "rank")
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
            row | {"tasks": tasks.get(row["backbone"], {})}
            for row in ranking.aggregate_ranking.iter_rows(named=True)
        ],
        "missing": [{"backbone": pair.backbone, "task": str(pair.task)} for pair in ranking.missing],
        "condition": ranking.condition,
        "rule": asdict(ranking.rule),
        "sources": ranking.sources,
        "conflicts": ranking.conflicts.to_dicts(),
        "intervals": ranking.uncertainty_note or None,
        "beside": [
            {
                "published": found.paper.name,
                "backbones": found.ranking.to_dicts(),
                "values": found.values.to_dicts(),
            }
            for found in ranking.comparisons
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


FORMATS: Mapping[str, Callable[[Ranking], str]] = {
    "table": _as_table,
    "json": _as_json,
    "csv": _as_csv,
    "markdown": _as_markdown,
}


def _comparison(found: PublishedComparison, written: Callable[[Rows], str]) -> list[str]:
    """What is said, and a table per thing that both have."""
    parts = [found.summary]
    if found.ranking.height:
        rows = [
            {
                "rank here": _cell(row["rank_here"], "d"),
                "there": _cell(row["rank_there"], "d"),
                "backbone": row["backbone"],
                "published as": row["published_as"],
                "z-score here": _cell(row["zscore_here"], "+.2f"),
                "z-score there": _cell(row["zscore_there"], "+.2f"),
            }
            for row in found.ranking.iter_rows(named=True)
        ]
        parts += ["", written(rows)]
    if found.values.height:
        rows = [
            {
                "task": row["task"],
                "metric": row["metric"],
                "backbone": row["backbone"],
                "here": _cell(row["here"], ".3f"),
                "there": _cell(row["there"], ".3f"),
            }
            for row in found.values.iter_rows(named=True)
        ]
        parts += ["", written(rows)]
    return parts


def _heading(ranking: Ranking) -> str:
    num_seeds = ranking.ranked["num_seeds"].to_list()
    low, high = min(num_seeds), max(num_seeds)
    seeds = f"{low} seed{'s' if low != 1 else ''}" if low == high else f"{low} to {high} seeds"
    return (
        f"{', '.join(ranking.experiments)}: {_count(ranking.aggregate_ranking.height, 'backbone')} on "
        f"{_count(len(ranking.tasks), 'task')}, measured on test, mean over {seeds}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _readable_rows(ranking: Ranking) -> list[dict[str, str]]:
    """Rounded cells by column title, values as percent where the metric is a fraction."""
    rows = []
    within: dict[tuple[str, str], tuple[float | None, float | None]] = {}
    if names := _cell_intervals(ranking):
        within = {
            (backbone, task): (low, high)
            for backbone, task, low, high in ranking.ranked.select("backbone", "task", *names).iter_rows()
        }
    for row in add_task_columns(ranking.aggregate_ranking, ranking.ranked).iter_rows(named=True):
        mark = "" if row["is_complete"] else "*"
        cells = {
            "rank": _cell(row["overall_rank"], "d"),
            "backbone": f"{row['backbone']}{mark}",
            "z-score": _cell(row["mean_zscore"], "+.2f"),
            "mean rank": _cell(row["mean_rank"], ".1f"),
        }
        if INTERVALS[0] in row:
            cells["z-score"] += f" {_range(row['zscore_low'], row['zscore_high'], '+.2f')}"
            cells["rank 95 %"] = _range(row["rank_low"], row["rank_high"], "g")
            cells["P(best)"] = _cell(row["p_first"], ".2f")
        for task, metric in ranking.tasks.items():
            pattern = ".2f" if _is_fraction(metric) else ".3f"
            cells[task] = _cell(row[task], pattern, _is_fraction(metric))
            low, high = within.get((row["backbone"], task), (None, None))
            if low is not None:
                cells[task] += f" {_range(low, high, pattern, _is_fraction(metric))}"
        rows.append(cells)
    return rows


def _cell_intervals(ranking: Ranking) -> tuple[str, ...]:
    return tuple(name for name in SCORE_INTERVALS if name in ranking.ranked.columns)


def _range(low: float | None, high: float | None, pattern: str, is_percent: bool = False) -> str:
    if low is None or high is None:
        return NO_VALUE
    return f"[{_cell(low, pattern, is_percent)}, {_cell(high, pattern, is_percent)}]"


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
    notes.append(_said_of(ranking.rule))
    notes += ranking.notes
    if ranking.uncertainty_note:
        notes.append(ranking.uncertainty_note)
    if ranking.conflicts.height:
        num_things = ranking.conflicts.filter("is_kept").height
        notes.append(
            f"{_count(num_things, 'measurement')} found with different values; the preferred source decided "
            "(`--format json` lists them)."
        )
    if ranking.missing:
        names = ", ".join(f"{pair.backbone} on {pair.task}" for pair in ranking.missing[:5])
        more = f" and {len(ranking.missing) - 5} more" if len(ranking.missing) > 5 else ""
        how = "counted as z-score 0" if ranking.rule.missing == "zero" else "ranked over fewer tasks"
        notes.append(f"* Not comparable, {how}. No score: {names}{more}.")
    return notes


def _said_of(rule: RankingRule) -> str:
    """The rule in a sentence, with what is not the default spelt out."""
    weighing = "averaged over tasks" + (", then over categories" if rule.mean == "macro" else "")
    deviation = "" if rule.deviation == "sample" else " (the population's)"
    sign = "" if rule.turns_sign else "; signs of lower-is-better metrics are left as they are"
    return f"z-score: standard deviations{deviation} above a task's mean over backbones, {weighing}{sign}."
