"""Which backbone is best, and how certain is that?"""

from collections.abc import Sequence

import polars as pl

from raybench.report.gather.report_data import ReportData
from raybench.report.render.parts import Listing, Part, Table, Text

CONFIDENCE = 0.95


def decision(report_data: ReportData) -> Sequence[Part]:
    """The best backbone in words, the backbones that may equal it, and how certain that is."""
    overall = report_data.overall.drop_nulls("mean_zscore")
    best, num_tasks = overall["backbone"][0], len(report_data.ranking.tasks)
    place = "the only backbone" if overall.height == 1 else f"first of {overall.height} backbones"
    return [
        Text(f"{best} is {place} over {num_tasks} task{'s' if num_tasks != 1 else ''}, by mean z-score."),
        *_certainty(report_data, best),
        *_best_of_groups(report_data, overall),
        Text(report_data.uncertainty.note),
        *_missing_pairs(report_data),
    ]


def _certainty(report_data: ReportData, best: str) -> list[Part]:
    uncertainty = report_data.uncertainty
    if uncertainty.replicates is None:
        return []
    first = uncertainty.ranking_intervals().filter(backbone=best).row(0, named=True)
    probability = Text(
        f"P({best} is best) = {first['p_first']:.2f}. With 95 % confidence its rank lies between "
        f"{first['rank_low']:g} and {first['rank_high']:g}."
    )
    wins = uncertainty.win_probabilities().filter(backbone=best)
    rivals = wins.filter(pl.col("probability") < CONFIDENCE).sort("probability", "other")
    if rivals.is_empty():
        return [probability, Text("It beats every other backbone in at least 95 % of bootstrap replicates.")]
    rows = rivals.select("other", "probability").iter_rows()
    return [
        probability,
        Text("It is not clearly better than these, which it beats in less than 95 % of replicates:"),
        Listing([f"{other}: {best} wins with P = {p:.2f}" for other, p in rows]),
    ]


def _best_of_groups(report_data: ReportData, overall: pl.DataFrame) -> list[Part]:
    """The best of every other family, and the best of at most half the size of the winner.

    Backbones of unknown family are a group of their own, and those of unknown size are named.
    """
    ranked = overall.join(report_data.backbone_info, on="backbone", maintain_order="left")
    best, size = ranked.select("backbone", "params_m").row(0)
    families = ranked.with_columns(pl.col("family").fill_null("unknown"))
    items = [
        f"best {'of unknown family' if family == 'unknown' else family}: {name} (rank {rank} overall)"
        for family, name, rank in families.unique("family", keep="first", maintain_order=True)
        .select("family", "backbone", "overall_rank")
        .iter_rows()
        if name != best
    ]
    smaller = ranked.filter(pl.col("params_m") <= (size or 0.0) / 2)
    for name, rank, params in smaller.head(1).select("backbone", "overall_rank", "params_m").iter_rows():
        items.append(
            f"best of at most half its size ({size:.3g} M): {name} (rank {rank} overall, {params:.3g} M)"
        )
    unsized = ranked.filter(pl.col("params_m").is_null())["backbone"].to_list()
    if unsized and len(unsized) < ranked.height:
        items.append(f"not compared by size, which is unknown: {', '.join(unsized)}")
    return [Listing(items)] if items else []


def _missing_pairs(report_data: ReportData) -> list[Part]:
    missing = report_data.ranking.missing
    if not missing:
        return []
    frame = pl.DataFrame({"backbone": [p.backbone for p in missing], "task": [str(p.task) for p in missing]})
    return [
        Text("This ranking is incomplete: some pairs have no score, so backbones differ in their tasks."),
        Listing([f"no score: {pair.backbone} on {pair.task}" for pair in missing]),
        Table(frame, "Pairs without a score", "missing_pairs", is_folded=True),
    ]
