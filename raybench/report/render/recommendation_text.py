"""A recommendation as text: a table for the terminal, Markdown or JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest
from raybench.report.gather.recommendation import QUANTITIES, Recommendation
from raybench.report.render.columns import NO_VALUE, aligned, markdown


def recommendation_text(recommendation: Recommendation, *, output_format: str = "table") -> str:
    """The short list as text.

    Args:
        recommendation: as `recommend_from` gives it.
        output_format: a key of FORMATS.

    Raises:
        UnknownNameError: if there is no such format.
    """
    if output_format not in FORMATS:
        hint = suggest(output_format, FORMATS) or "."
        raise UnknownNameError(f"unknown format {output_format!r}{hint} There are {', '.join(FORMATS)}.")
    return FORMATS[output_format](recommendation)


def _cells(recommendation: Recommendation) -> list[dict[str, str]]:
    rows = []
    for row in recommendation.shortlist.iter_rows(named=True):
        cells = {
            "": str(row["rank"]),
            "backbone": row["backbone"],
            "z-score": format(row["mean_zscore"], "+.2f"),
            "P(best)": NO_VALUE if row["p_best"] is None else format(row["p_best"], ".2f"),
        }
        for name, (said, unit) in QUANTITIES.items():
            if name in row:
                cells[f"{said}, {unit}"] = NO_VALUE if row[name] is None else format(row[name], ".4g")
        rows.append(cells)
    return rows


def _heading(recommendation: Recommendation) -> str:
    limits = recommendation.limits.said
    of = ", ".join(recommendation.ranking.experiments)
    return f"{of}: best backbones{f' with {limits}' if limits else ''}"


def _why(recommendation: Recommendation) -> list[tuple[str, str, str]]:
    return list(recommendation.shortlist.select("backbone", "reason", "doubt").iter_rows())


def _as_table(recommendation: Recommendation) -> str:
    reasons = [
        line
        for backbone, reason, doubt in _why(recommendation)
        for line in (backbone, f"  why    {reason}", f"  doubt  {doubt}")
    ]
    table = aligned(_cells(recommendation))
    return "\n".join([_heading(recommendation), "", table, "", *reasons, "", *recommendation.said])


def _as_markdown(recommendation: Recommendation) -> str:
    reasons = [f"- **{name}**: {reason}. Doubt: {doubt}." for name, reason, doubt in _why(recommendation)]
    table = markdown(_cells(recommendation))
    return "\n\n".join([_heading(recommendation), table, "\n".join(reasons), *recommendation.said])


def _as_json(recommendation: Recommendation) -> str:
    ranking = recommendation.ranking
    content = {
        "recommended": recommendation.shortlist.to_dicts(),
        "limits": asdict(recommendation.limits),
        "tasks": dict(ranking.tasks),
        "condition": ranking.condition,
        "rule": asdict(ranking.rule),
        "sources": ranking.sources,
        "notes": recommendation.said,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


FORMATS: Mapping[str, Callable[[Recommendation], str]] = {
    "table": _as_table,
    "json": _as_json,
    "markdown": _as_markdown,
}
