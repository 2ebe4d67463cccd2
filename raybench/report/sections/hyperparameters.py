"""Which hyperparameters matter, and do the best values lie on an edge of the search space?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.packed_effects import INTERACTION
from raybench.report.gather.parsed_columns import with_protocol
from raybench.report.gather.report_data import ReportData
from raybench.report.render.parts import Absent, Part, Table, Text
from raybench.report.sections.search_budget import NO_SEARCH


def importance(report_data: ReportData) -> Sequence[Part]:
    """Importance between trials, estimated by a forest, and within packed trials, exact."""
    search = report_data.search
    return [*_between_trials(search.importance), *_within_packed_trials(search.packed)]


def _between_trials(importances: pl.DataFrame) -> list[Part]:
    if importances.is_empty():
        return [
            Absent(
                "importance between trials: `raybench run` estimates it at its end for tasks with 8 or more "
                "completed search trials over all backbones, in which a hyperparameter varies."
            )
        ]
    above = importances.filter(pl.col("importance") > pl.col("by_chance"))
    leading = "; ".join(
        f"{row['scope']}: {row['hyperparameter']} ({row['importance']:.2f}, by chance up to "
        f"{row['by_chance']:.2f})"
        for row in above.unique("scope", keep="first", maintain_order=True).iter_rows(named=True)
    )
    scopes = importances["scope"].unique(maintain_order=True)
    others = ", ".join(scope for scope in scopes if scope not in set(above["scope"]))
    parts: list[Part] = [
        Text(f"What matters most between trials: {leading or 'nothing that stands out from chance'}.")
    ]
    if leading and others:
        parts.append(Text(f"Nothing stands out from chance in {others}."))
    return [
        *parts,
        Text(
            "Importances are shares of the variation that a forest explains in the objective on val, "
            "standardised within each pair; they add up to 1 even if nothing matters. By chance: the largest "
            "share over 19 shuffles of the objectives. Trials that were stopped early are left out."
        ),
        Table(importances, "Importance of hyperparameters", "importance"),
    ]


def _within_packed_trials(packed: pl.DataFrame) -> list[Part]:
    if packed.is_empty():
        return []
    mean = (
        packed.pipe(with_protocol)
        .group_by("protocol", "grid", "hyperparameter")
        .agg(pl.col("share").sort().mean(), num_pairs=pl.len())
        .sort("protocol", "grid", "share", descending=[False, False, True])
    )
    single = mean.filter(pl.col("hyperparameter") != INTERACTION)
    first = single.unique(["protocol", "grid"], keep="first", maintain_order=True)
    leading = "; ".join(
        f"{row['hyperparameter']} explains {100 * row['share']:.0f} % of the variance over the heads of "
        f"{row['protocol']} ({row['grid']})"
        for row in first.iter_rows(named=True)
    )
    return [
        Text(
            f"Within packed trials, which try a whole grid at once: {leading}. These shares are exact. "
            "Packs whose weaker heads were dropped during training are left out."
        ),
        Table(mean, "Packed grids of the best trials: shares of variance", "packed_effects"),
    ]


def edges(report_data: ReportData) -> Sequence[Part]:
    """Best trials with a value at the end of its range, where better values may lie beyond."""
    winners, on_edge = report_data.search.winners, report_data.search.edges
    if winners.is_empty():
        return [Absent(NO_SEARCH)]
    if on_edge.is_empty():
        return [Text(f"None of {winners.height} best trials has a value on the edge of its space or grid.")]
    num_pairs = winners.pipe(with_protocol).group_by("protocol").agg(of_pairs=pl.len())
    counted = (
        on_edge.pipe(with_protocol)
        .group_by("protocol", "hyperparameter", "end")
        .agg(num_pairs=pl.len())
        .join(num_pairs, on="protocol")
        .sort("num_pairs", "protocol", "hyperparameter", "end", descending=[True, False, False, False])
    )
    first = counted.row(0, named=True)
    num_touched = on_edge.select("backbone", "task").unique().height
    return [
        Text(
            f"In {num_touched} of {winners.height} pairs the best trial has a value on an edge, most often "
            f"{first['hyperparameter']} at its {first['end']} end ({first['num_pairs']} of "
            f"{first['of_pairs']} pairs of {first['protocol']}). Better values may lie beyond, so the score "
            "of such a pair may be too low. `try_next` is what to write under `space` in the spec's `spaces`."
        ),
        Table(counted, "Best values on an edge, counted", "edges_counted"),
        Table(on_edge, "Best values on an edge, by pair", "edges", is_folded=True),
    ]
