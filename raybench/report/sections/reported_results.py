"""How do these results compare with those that the paper reports?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.correlation import score_correlations, task_correlations
from raybench.report.gather.published_tables import PublishedComparison
from raybench.report.gather.report_data import ReportData
from raybench.report.render.parts import Part, Table, Text

FAMILIES = {"ViTs": "transformer", "CNNs": "cnn"}
"""The paper's word for a family → the catalogue's."""


def reported_results(report_data: ReportData) -> Sequence[Part]:
    """Shared rankings and values, and the paper's correlations beside those measured here."""
    paper = report_data.reference
    measured = _measured_scalars(report_data)
    rows = [
        (s.quantity, s.setting, s.value, measured.get((s.quantity, s.setting)), s.certainty)
        for s in paper.scalars
    ]
    names = ["quantity", "of", "paper", "here", "certainty"]
    table = pl.DataFrame(rows, schema=names, orient="row").cast({"paper": pl.Float64, "here": pl.Float64})
    return [
        *[part for comparison in report_data.comparisons for part in _comparison(comparison)],
        Text(
            f"{paper.citation} reports these numbers over its own backbones and tasks; `certainty` says how "
            "certain the transcription of a number is. A dash under `here`: not defined here."
        ),
        Table(table, "Reported and measured here", "references"),
        Table(pl.DataFrame(paper.orders), "Orders that the paper reports", "reported_orders", is_folded=True),
    ]


def _comparison(comparison: PublishedComparison) -> list[Part]:
    """Backbones and tasks that the published table and the results have in common."""
    parts: list[Part] = [Text(comparison.summary)]
    name = comparison.paper.name
    if comparison.ranking.height:
        parts.append(Table(comparison.ranking, "Backbones that both tables rank", f"beside_{name}"))
    if comparison.values.height:
        parts.append(Table(comparison.values, "Tasks that both tables have", f"values_beside_{name}"))
    return parts


def _measured_scalars(report_data: ReportData) -> dict[tuple[str, str], float | None]:
    """(Quantity, setting) as the paper names them → the value measured here."""
    measured: dict[tuple[str, str], float | None] = {}
    for quantity, column in (("params", "params_m"), ("pretrain_images", "pretrain_images")):
        correlations = score_correlations(report_data.overall, report_data.backbone_info, column)
        by_family = dict(correlations.select("family", "spearman").iter_rows())
        for setting, family in FAMILIES.items():
            measured[f"spearman(zscore, {quantity})", setting] = by_family.get(family)
    ranked = report_data.ranking.ranked
    between = task_correlations(ranked, by="category")
    pair = between.filter(pl.col("one") == "classification", pl.col("other") == "retrieval")["spearman"]
    measured["spearman(classification, retrieval)", "all backbones"] = pair[0] if pair.len() else None
    typical = task_correlations(ranked)["spearman"].median()
    measured["spearman(task, task)", "typical task pair, a lower bound"] = typical  # type: ignore[assignment]
    return measured
