"""The sections on the fairness of the search: `ReportData` → parts of a page."""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.early_stopping import replay_halving, stopping_regret
from raybench.analysis.packed_effects import INTERACTION
from raybench.core.errors import EmptyInputError
from raybench.report.gather.report_data import ReportData
from raybench.report.render.parts import Absent, Part, Table, Text

NO_SEARCH = "no search trial with an objective on val is in the ledger."


def importance(evidence: ReportData) -> Sequence[Part]:
    """Between trials as the run found it, within packed trials exactly."""
    found, packed = evidence.search.importance, evidence.search.packed
    parts: list[Part] = []
    if found.is_empty():
        parts.append(
            Absent(
                "importance between trials: `raybench run` keeps it at its end, where a task has 8 completed "
                "search trials or more over all backbones, in which a hyperparameter varies."
            )
        )
    else:
        above = found.filter(pl.col("importance") > pl.col("by_chance"))
        said = "; ".join(
            f"{row['scope']}: {row['hyperparameter']} ({row['importance']:.2f}, by chance up to "
            f"{row['by_chance']:.2f})"
            for row in above.unique("scope", keep="first", maintain_order=True).iter_rows(named=True)
        )
        scopes = found["scope"].unique(maintain_order=True)
        silent = [scope for scope in scopes if scope not in set(above["scope"])]
        parts += [
            Text(f"What matters most between trials: {said or 'nothing that stands out from chance'}."),
            *([Text(f"Nothing stands out from chance in {', '.join(silent)}.")] if said and silent else []),
            Text(
                "Shares of what a forest explains of the objective on val, standardised within each pair, "
                "and they "
                "add up to 1 even if nothing matters; by chance is the largest share over 19 shuffles of the "
                "objectives. Trials that were stopped early are left out."
            ),
            Table(found, "Importance of hyperparameters", "importance"),
        ]
    if not packed.is_empty():
        mean = (
            packed.with_columns(protocol=pl.col("task").str.split("@").list.first())
            .group_by("protocol", "grid", "hyperparameter")
            .agg(pl.col("share").sort().mean(), num_pairs=pl.len())
            .sort("protocol", "grid", "share", descending=[False, False, True])
        )
        lead = [
            f"{row['hyperparameter']} explains {100 * row['share']:.0f} % of the variance over the heads of "
            f"{row['protocol']} ({row['grid']})"
            for row in mean.filter(pl.col("hyperparameter") != INTERACTION)
            .unique(["protocol", "grid"], keep="first", maintain_order=True)
            .iter_rows(named=True)
        ]
        parts += [
            Text(
                f"Within packed trials, which try a whole grid at once: {'; '.join(lead)}. Exact, not fitted."
            ),
            Table(mean, "Packed grids of the best trials: shares of variance", "packed_effects"),
        ]
    return parts


def edges(evidence: ReportData) -> Sequence[Part]:
    """Where the best may lie beyond what was searched."""
    winners, found = evidence.search.winners, evidence.search.edges
    if winners.is_empty():
        return [Absent(NO_SEARCH)]
    if found.is_empty():
        return [Text(f"None of {winners.height} best trials has a value on the edge of its space or grid.")]
    protocol = pl.col("task").str.split("@").list.first().alias("protocol")
    num_pairs = winners.group_by(protocol).agg(of_pairs=pl.len())
    counted = (
        found.group_by(protocol, "hyperparameter", "end")
        .agg(num_pairs=pl.len())
        .join(num_pairs, on="protocol")
        .sort("num_pairs", "protocol", "hyperparameter", "end", descending=[True, False, False, False])
    )
    first = counted.row(0, named=True)
    touched = found.select("backbone", "task").unique().height
    return [
        Text(
            f"In {touched} of {winners.height} pairs the best trial has a value on an edge, most often "
            f"{first['hyperparameter']} at its {first['end']} end ({first['num_pairs']} of "
            f"{first['of_pairs']} pairs "
            f"of {first['protocol']}): the best may lie beyond, and a pair on an edge may be undersold. "
            "Its recipe says what range to try."
        ),
        Table(counted, "Best values on an edge, counted", "edges_counted"),
        Table(found, "Best values on an edge, by pair", "edges", is_folded=True),
    ]


def stopping(evidence: ReportData) -> Sequence[Part]:
    """Estimated where trials were stopped; known, by replay, where none was."""
    learning = evidence.search.learning
    if learning.is_empty():
        return [Absent(NO_SEARCH)]
    parts: list[Part] = []
    try:
        stopped = stopping_regret(learning)
    except EmptyInputError:
        parts.append(Text("No search trial was stopped early, so nothing was lost by it."))
    else:
        known = stopped.drop_nulls("expected_regret")
        worst = max(known["largest_regret"].to_list(), default=0.0)
        saved = stopped["epochs_saved"].sort().mean()
        unknown = stopped.height - known.height
        parts += [
            Text(
                f"{stopped['num_stopped'].sum()} of {stopped['num_trials'].sum()} trials were stopped, "
                f"which saved "
                f"{100 * float(str(saved)):.0f} % of the epochs. Had they still gained what finished "
                f"trials of their "
                f"pair gained after the same epoch, the best on val would be better in "
                f"{known.filter(pl.col('expected_regret') > 0).height} of {known.height} pairs, by "
                f"{worst:.3f} at most."
                + (f" In {unknown} pairs no trial finished, so nothing can be said." if unknown else "")
            ),
            Text(
                "This is an estimate from below: what a stopped trial would have reached is not known, "
                "and one that "
                "learns more slowly than every finished one would have gained more. A search without "
                "early stopping "
                "is the only way to know."
            ),
            Table(stopped, "Estimated regret of early stopping", "stopping_regret"),
        ]
    try:
        replayed = replay_halving(learning)
    except EmptyInputError as error:
        return [*parts, Absent(str(error))]
    lost = replayed.filter(pl.col("regret") > 0)
    return [
        *parts,
        Text(
            f"Replayed on {replayed.height} pairs whose trials all ran to their end, successive halving "
            f"(one of 4 goes "
            f"on) would have lost the best trial in {lost.height} of them, by "
            f"{max(replayed['regret'].to_list()):.3f} on val at most. This is known, not estimated, for "
            f"halving that "
            "waits at every rung; `early_stopping: asha` does not wait, and keeps more."
        ),
        Table(replayed, "Successive halving replayed", "halving_replayed"),
    ]
