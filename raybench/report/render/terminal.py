"""The ranking as text: a table for people, JSON and CSV for programs, Markdown for pages."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.analysis.zscores import add_task_columns
from raybench.catalog.published import PublishedResults
from raybench.metrics import METRICS
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.limits import Limits, within_limits
from raybench.report.gather.published_tables import PublishedComparison
from raybench.report.gather.ranking import INTERVALS, SCORE_INTERVALS, Ranking, rank_results
from raybench.report.gather.sources import Results
from raybench.report.render.columns import NO_VALUE, Rows, aligned, choose_format, markdown, number
from raybench.report.render.tables import neutral_frame


def rank_text(
    results: Results,
    criterion: Criterion | None = None,
    rule: RankingRule | None = None,
    *,
    output_format: str = "table",
    with_intervals: bool = False,
    limits: Limits | None = None,
    top: int | None = None,
) -> str:
    """Rank the backbones of `results` by z-score, and format the ranking.

    Args:
        results, criterion, rule: as for `ranking.rank_results`.
        output_format: a key of FORMATS; the table of a published source also lists what its text reports.
        limits: what a backbone that is shown may cost; ranks are among all.
        top: how many backbones to show; None shows all.
        with_intervals: add 95 % intervals of scores, z-scores and ranks, and the probability of being first.

    Returns:
        The text, without a newline at the end. Percent for people (`table`, `markdown`), fractions
        for programs (`json`, `csv`).

    Raises:
        UnknownNameError: if there is no such format.
        RaybenchError: as `ranking.rank_results`.
    """
    write = choose_format(output_format, FORMATS)
    ranking = rank_results(results, criterion, rule, with_intervals=with_intervals)
    text = write(within_limits(ranking, limits or Limits(), top))
    if output_format == "table" and results.published is not None:
        return f"{text}\n{_reported(results.published)}"
    return text


def _reported(paper: PublishedResults) -> str:
    """The citation, and the numbers that the paper's text reports."""
    rows = [
        {"reported": s.quantity, "for": s.setting, "value": f"{s.value:g}", "certainty": s.certainty}
        for s in paper.scalars
    ]
    return "\n".join([f"Source: {paper.citation}", *(["", aligned(rows)] if rows else [])])


def _as_table(ranking: Ranking) -> str:
    rows = _readable_rows(ranking)
    legend: list[str] = []
    if len(aligned(rows).partition("\n")[0]) > shutil.get_terminal_size((120, 24)).columns:
        tasks = {task: f"[{number}]" for number, task in enumerate(ranking.tasks, 1)}
        rows = [{tasks.get(name, name): cell for name, cell in row.items()} for row in rows]
        legend = [f"{number} {task}" for task, number in tasks.items()]
    comparisons = [
        line for comparison in ranking.comparisons for line in ("", *_comparison(comparison, aligned))
    ]
    return "\n".join([_heading(ranking), "", aligned(rows), "", *legend, *_notes(ranking), *comparisons])


def _as_markdown(ranking: Ranking) -> str:
    return "\n\n".join(
        [
            _heading(ranking),
            markdown(_readable_rows(ranking)),
            *(note.replace("*", "\\*") for note in _notes(ranking)),
            *(part for comparison in ranking.comparisons for part in _comparison(comparison, markdown)),
        ]
    )


def _as_csv(ranking: Ranking) -> str:
    """One line per backbone; per task its value, z-score and rank, each a column of its own."""
    frame = ranking.aggregate_ranking
    for column in ("value", *_interval_columns(ranking), "zscore", "rank"):
        wide = add_task_columns(ranking.aggregate_ranking.select("backbone"), ranking.ranked, column)
        names = {
            task: f"{task}/{ranking.tasks[task] if column == 'value' else column}" for task in ranking.tasks
        }
        frame = frame.join(wide.rename(names), on="backbone", maintain_order="left")
    return neutral_frame(frame).write_csv().rstrip("\n")


def _as_json(ranking: Ranking) -> str:
    columns = ("metric", "value", *_interval_columns(ranking), "num_seeds", "zscore", "rank")
    tasks: dict[str, dict[str, Any]] = {}
    for row in ranking.ranked.sort("backbone", "task").iter_rows(named=True):
        tasks.setdefault(row["backbone"], {})[row["task"]] = {name: row[name] for name in columns}
    content = {
        "experiments": ranking.results.experiments,
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
        "sources": ranking.results.names,
        "conflicts": ranking.results.conflicts.to_dicts(),
        "intervals": ranking.uncertainty_note or None,
        "beside": [
            {
                "published": comparison.paper.name,
                "backbones": comparison.ranking.to_dicts(),
                "values": comparison.values.to_dicts(),
            }
            for comparison in ranking.comparisons
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


FORMATS: Mapping[str, Callable[[Ranking], str]] = {
    "table": _as_table,
    "json": _as_json,
    "csv": _as_csv,
    "markdown": _as_markdown,
}


def _comparison(comparison: PublishedComparison, as_table: Callable[[Rows], str]) -> list[str]:
    """The summary, and a table each of the backbones and the tasks that both have."""
    parts = [comparison.summary]
    if comparison.ranking.height:
        rows = [
            {
                "rank here": number(row["rank_here"], "d"),
                "there": number(row["rank_there"], "d"),
                "backbone": row["backbone"],
                "published as": row["published_as"],
                "z-score here": number(row["zscore_here"], "+.2f"),
                "z-score there": number(row["zscore_there"], "+.2f"),
            }
            for row in comparison.ranking.iter_rows(named=True)
        ]
        parts += ["", as_table(rows)]
    if comparison.values.height:
        rows = [
            {name: row[name] for name in ("task", "metric", "backbone")}
            | {name: number(row[name], ".3f") for name in ("here", "there")}
            for row in comparison.values.iter_rows(named=True)
        ]
        parts += ["", as_table(rows)]
    return parts


def _heading(ranking: Ranking) -> str:
    num_seeds = ranking.ranked["num_seeds"].to_list()
    low, high = min(num_seeds), max(num_seeds)
    seeds = f"{low} seed{'s' if low != 1 else ''}" if low == high else f"{low} to {high} seeds"
    backbones = _count(ranking.aggregate_ranking.height, "backbone")
    return (
        f"{', '.join(ranking.results.experiments)}: {backbones} on {_count(len(ranking.tasks), 'task')}, "
        f"measured on test, mean over {seeds}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _readable_rows(ranking: Ranking) -> list[dict[str, str]]:
    """Rounded cells by column title, values as percent where the metric is a fraction."""
    rows = []
    intervals = _score_intervals(ranking)
    for row in add_task_columns(ranking.aggregate_ranking, ranking.ranked).iter_rows(named=True):
        mark = "" if row["is_complete"] else "*"
        cells = {
            "rank": number(row["overall_rank"], "d"),
            "backbone": f"{row['backbone']}{mark}",
            "z-score": number(row["mean_zscore"], "+.2f"),
            "mean rank": number(row["mean_rank"], ".1f"),
        }
        if INTERVALS[0] in row:
            cells["z-score"] += f" {_interval(row['zscore_low'], row['zscore_high'], '+.2f')}"
            cells["rank 95 %"] = _interval(row["rank_low"], row["rank_high"], "g")
            cells["P(best)"] = number(row["p_first"], ".2f")
        for task, metric in ranking.tasks.items():
            is_percent = _is_fraction(metric)
            pattern = ".2f" if is_percent else ".3f"
            cells[task] = number(row[task], pattern, is_percent=is_percent)
            low, high = intervals.get((row["backbone"], task), (None, None))
            if low is not None:
                cells[task] += f" {_interval(low, high, pattern, is_percent)}"
        rows.append(cells)
    return rows


def _score_intervals(ranking: Ranking) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """(Backbone, task) → interval of the score; empty if none was estimated."""
    columns = _interval_columns(ranking)
    if not columns:
        return {}
    rows = ranking.ranked.select("backbone", "task", *columns).iter_rows()
    return {(backbone, task): (low, high) for backbone, task, low, high in rows}


def _interval_columns(ranking: Ranking) -> tuple[str, ...]:
    return tuple(name for name in SCORE_INTERVALS if name in ranking.ranked.columns)


def _interval(low: float | None, high: float | None, pattern: str, is_percent: bool = False) -> str:
    if low is None or high is None:
        return NO_VALUE
    return f"[{number(low, pattern, is_percent=is_percent)}, {number(high, pattern, is_percent=is_percent)}]"


def _is_fraction(metric: str) -> bool:
    return METRICS[metric].bounds == (0.0, 1.0)


def _notes(ranking: Ranking) -> list[str]:
    notes = [*_metric_notes(ranking), _rule_note(ranking.rule), *ranking.notes]
    if ranking.uncertainty_note:
        notes.append(ranking.uncertainty_note)
    if ranking.results.conflicts.height:
        num_conflicts = ranking.results.conflicts.filter("is_kept").height
        notes.append(
            f"{_count(num_conflicts, 'measurement')} found with different values; the preferred source "
            "decided (`--format json` lists them)."
        )
    if ranking.missing:
        names = ", ".join(f"{pair.backbone} on {pair.task}" for pair in ranking.missing[:5])
        more = f" and {len(ranking.missing) - 5} more" if len(ranking.missing) > 5 else ""
        how = "counted as z-score 0" if ranking.rule.missing == "zero" else "ranked over fewer tasks"
        notes.append(f"* Not comparable, {how}. No score: {names}{more}.")
    return notes


def _metric_notes(ranking: Ranking) -> list[str]:
    """One note per metric: its tasks, unit, direction and condition."""
    tasks_by_metric: dict[str, list[str]] = {}
    for task, metric in ranking.tasks.items():
        tasks_by_metric.setdefault(metric, []).append(task)
    notes = []
    for metric, tasks in tasks_by_metric.items():
        unit = ", %" if _is_fraction(metric) else ""
        better = ", lower is better" if METRICS[metric].direction == "min" else ""
        where = "Under the tasks" if len(tasks_by_metric) == 1 else f"Under {', '.join(tasks)}"
        notes.append(f"{where}: {METRICS[metric].label}{unit}{better}{ranking.under_condition}.")
    return notes


def _rule_note(rule: RankingRule) -> str:
    """The rule in a sentence, with every choice that is not the default."""
    averaging = "averaged over tasks" + (", then over categories" if rule.mean == "macro" else "")
    deviation = "" if rule.deviation == "sample" else " (the population's)"
    sign = "" if rule.turns_sign else "; signs of lower-is-better metrics are left as they are"
    return f"z-score: standard deviations{deviation} above a task's mean over backbones, {averaging}{sign}."
