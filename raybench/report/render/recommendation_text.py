"""A recommendation as text: a table for the terminal, Markdown or JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

from raybench.report.gather.limits import QUANTITIES
from raybench.report.gather.recommendation import Recommendation
from raybench.report.render.columns import aligned, choose_format, markdown, number


def recommendation_text(recommendation: Recommendation, *, output_format: str = "table") -> str:
    """The short list as text.

    Args:
        recommendation: as `recommend_from` gives it.
        output_format: a key of FORMATS.

    Raises:
        UnknownNameError: if there is no such format.
    """
    return choose_format(output_format, FORMATS)(recommendation)


def _rows(recommendation: Recommendation) -> list[dict[str, str]]:
    rows = []
    for row in recommendation.shortlist.iter_rows(named=True):
        cells = {
            "": str(row["rank"]),
            "backbone": row["backbone"],
            "z-score": format(row["mean_zscore"], "+.2f"),
            "P(best)": number(row["p_best"], ".2f"),
        }
        for name, (quantity, unit) in QUANTITIES.items():
            if name in row:
                cells[f"{quantity}, {unit}"] = number(row[name], ".4g")
        rows.append(cells)
    return rows


def _heading(recommendation: Recommendation) -> str:
    limits = recommendation.limits.summary
    experiments = ", ".join(recommendation.ranking.results.experiments)
    return f"{experiments}: best backbones{f' with {limits}' if limits else ''}"


def _reasons(recommendation: Recommendation) -> list[tuple[str, str, str]]:
    """(Backbone, why it is recommended, how certain its place is)."""
    return list(recommendation.shortlist.select("backbone", "reason", "doubt").iter_rows())


def _as_table(recommendation: Recommendation) -> str:
    reasons = [
        line
        for backbone, reason, certainty in _reasons(recommendation)
        for line in (backbone, f"  reason     {reason}", f"  certainty  {certainty}")
    ]
    table = aligned(_rows(recommendation))
    return "\n".join([_heading(recommendation), "", table, "", *reasons, "", *recommendation.notes])


def _as_markdown(recommendation: Recommendation) -> str:
    reasons = [
        f"- **{name}**: {reason}. Certainty: {certainty}."
        for name, reason, certainty in _reasons(recommendation)
    ]
    table = markdown(_rows(recommendation))
    return "\n\n".join([_heading(recommendation), table, "\n".join(reasons), *recommendation.notes])


def _as_json(recommendation: Recommendation) -> str:
    ranking = recommendation.ranking
    content = {
        "recommended": recommendation.shortlist.to_dicts(),
        "limits": asdict(recommendation.limits),
        "tasks": dict(ranking.tasks),
        "condition": ranking.condition,
        "rule": asdict(ranking.rule),
        "sources": ranking.results.names,
        "notes": recommendation.notes,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


FORMATS: Mapping[str, Callable[[Recommendation], str]] = {
    "table": _as_table,
    "json": _as_json,
    "markdown": _as_markdown,
}
