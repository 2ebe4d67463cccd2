"""`raybench recommend`: results and limits → a short list with reasons and how certain each place is."""

from dataclasses import dataclass

import polars as pl

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.analysis.cost import recommend
from raybench.catalog.published import MACHINES
from raybench.report.gather.backbone_table import backbone_table
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.inference_cost import inference_costs
from raybench.report.gather.limits import QUANTITIES, Limits, require_known, unknown_quantities
from raybench.report.gather.ranking import Ranking, rank_results
from raybench.report.gather.sources import Results
from raybench.report.gather.uncertainty import Uncertainty

SHOWN_NAMES = 8
"""Names in a sentence; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The short list and the ranking behind it."""

    shortlist: pl.DataFrame
    """As `cost.recommend` gives it, with `p_best` (null without replicates) and QUANTITIES."""
    ranking: Ranking
    limits: Limits
    notes: list[str]
    """Notes on the data used and on unknown quantities."""


def recommend_from(
    results: Results,
    limits: Limits,
    criterion: Criterion | None = None,
    rule: RankingRule | None = None,
    *,
    top: int = 3,
) -> Recommendation:
    """The best backbones within limits, ranked among all.

    Args:
        results, criterion, rule: as for `ranking.rank_results`.
        limits: what a backbone may cost.
        top: how many to name.

    Raises:
        MissingMeasurementError: if a limited quantity is unknown for all backbones, or a pair has no score.
        EmptyInputError: if no backbone is within the limits; the message says how many each limit excludes.
        RaybenchError: as `ranking.rank_results`.
    """
    ranking = rank_results(results, criterion, rule)
    uncertainty = ranking.uncertainty()
    table = ranking.aggregate_ranking.select("backbone", "mean_zscore", "is_complete").join(
        backbone_table(results), on="backbone", how="left", maintain_order="left"
    )
    require_known(limits, table, results)
    shortlist = recommend(
        table,
        at_most=limits.at_most,
        at_least=limits.at_least,
        top=min(top, table.height),
        wins=uncertainty.win_probabilities() if uncertainty.replicates is not None else None,
        words=QUANTITIES,
    )
    others = [name for name in QUANTITIES if name in table.columns and name not in shortlist.columns]
    quantities = table.select("backbone", *others)
    shortlist = shortlist.join(quantities, on="backbone", how="left", maintain_order="left")
    return Recommendation(
        shortlist=_with_p_best(shortlist, table, limits, uncertainty),
        ranking=ranking,
        limits=limits,
        notes=[*_ranking_notes(ranking, uncertainty), *_unknown_notes(table, limits)],
    )


def _with_p_best(
    shortlist: pl.DataFrame, table: pl.DataFrame, limits: Limits, uncertainty: Uncertainty
) -> pl.DataFrame:
    """Add `p_best`: probability of being the best of all backbones within the limits."""
    if uncertainty.replicates is None:
        return shortlist.with_columns(p_best=pl.lit(None, dtype=pl.Float64))
    within = [pl.col(name) <= value for name, value in limits.at_most.items()]
    within += [pl.col(name) >= value for name, value in limits.at_least.items()]
    allowed = table.filter(*within).drop_nulls("mean_zscore")["backbone"].to_list()
    resampled = [name for name in allowed if name in uncertainty.replicates.backbones]
    p_best = uncertainty.best_probabilities(resampled).rename({"p_first": "p_best"})
    return shortlist.join(p_best, on="backbone", how="left", maintain_order="left")


def _ranking_notes(ranking: Ranking, uncertainty: Uncertainty) -> list[str]:
    """What was ranked, how certain it is, what is missing, and on what machine costs were measured."""
    metrics = ", ".join(sorted(set(ranking.tasks.values())))
    notes = [
        f"Ranked by mean z-score over {', '.join(ranking.tasks)} ({metrics}{ranking.under_condition}), "
        f"among all {ranking.aggregate_ranking.height} backbones.",
        uncertainty.note,
        *ranking.notes,
    ]
    if ranking.results.machine:
        notes.append(f"Throughput: {MACHINES[ranking.results.machine]}.")
    if ranking.missing:
        names = ", ".join(f"{pair.backbone} on {pair.task}" for pair in ranking.missing[:5])
        notes.append(f"{len(ranking.missing)} pairs have no score and are not compared: {names}.")
    costs = inference_costs(ranking.results.measurements, ranking.results.storages)
    for row in costs.filter("is_shown").head(1).iter_rows(named=True):
        notes.append(
            f"Costs were measured on {row['hardware']}, {row['dtype']}, batches of {row['batch_size']}."
        )
    return notes


def _unknown_notes(table: pl.DataFrame, limits: Limits) -> list[str]:
    """Quantities unknown for all backbones, and backbones whose limited quantity is unknown."""
    unknown = [QUANTITIES[name][0] for name in unknown_quantities(table)]
    notes = [f"Not known here of any backbone: {', '.join(unknown)}."] if unknown else []
    for name in limits.names:
        excluded = table.filter(pl.col(name).is_null())["backbone"].to_list()
        if excluded:
            others = f" and {len(excluded) - SHOWN_NAMES} more" if len(excluded) > SHOWN_NAMES else ""
            names = ", ".join(excluded[:SHOWN_NAMES]) + others
            notes.append(f"Left out, because {QUANTITIES[name][0]} is not known: {names}.")
    return notes
