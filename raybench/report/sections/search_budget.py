"""Was the search long enough, what did it gain, and what did early stopping lose?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.aggregate_ranking import aggregate_ranking
from raybench.analysis.early_stopping import replay_halving, stopping_regret
from raybench.analysis.tuning_curves import (
    best_of_k,
    budget_sufficiency,
    gain_over_defaults,
    scores_at_budget,
)
from raybench.core.errors import EmptyInputError
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Part, Table, Text
from raybench.report.sections.chart_selection import first_panels, top_backbones

NO_SEARCH = "no search trial with an objective on val is in the ledger."


def search_budget(report_data: ReportData) -> Sequence[Part]:
    """Expected best of k trials, and what the second half of the trials was worth."""
    trials = report_data.search.trials
    if trials.is_empty():
        return [Absent(NO_SEARCH)]
    curves, sufficiency = best_of_k(trials), budget_sufficiency(trials)
    caption = "What the second half of the trials was worth"
    return [
        _best_of_k(report_data, curves),
        *_half_the_budget(trials),
        Text(f"The second half of the trials was worth {_describe_gains(sufficiency)} on val."),
        Table(sufficiency, caption, "budget_sufficiency", is_folded=True),
        Table(curves, "Expected best of k trials", "best_of_k", is_folded=True),
    ]


def _best_of_k(report_data: ReportData, curves: pl.DataFrame) -> Part:
    if max(curves["k"].to_list()) < 2:
        return Absent("every pair had one search trial only; a best-of-k curve needs 2.")
    shown, note = top_backbones(report_data, curves)
    shown, tasks_note = first_panels(shown, "task")
    return Figure(
        charts.lines(shown, x="k", y="expected", titles=("trials k", "expected best on val"), facet="task"),
        "Expected best objective on val over the number of trials, one panel per task.",
        f"Expected best of k trials: a curve that still rises calls for a longer search; {note}{tasks_note}",
    )


def _half_the_budget(trials: pl.DataFrame) -> list[Part]:
    """The expected ranking on val with half of the trials against that with all."""
    whole, half = (scores_at_budget(trials, share=share) for share in (1.0, 0.5))
    complete = whole.filter(pl.col("backbone").n_unique().over("task") == whole["backbone"].n_unique())
    if complete.is_empty() or complete["backbone"].n_unique() < 2:
        return []
    half = half.filter(pl.col("task").is_in(complete["task"].unique().implode()))
    joined = aggregate_ranking(complete).join(aggregate_ranking(half), on="backbone", suffix="_half")
    num_moved = joined.filter(pl.col("overall_rank") != pl.col("overall_rank_half")).height
    leaders = joined.filter(pl.col("overall_rank_half") == 1)["backbone"].sort().to_list()
    is_same = joined["backbone"][0] in leaders
    best = "have the same best" if is_same else f"have {' and '.join(leaders)} as the best"
    table = joined.select(
        "backbone",
        rank_with_all="overall_rank",
        rank_with_half="overall_rank_half",
        zscore_with_all="mean_zscore",
        zscore_with_half="mean_zscore_half",
    )
    return [
        Text(
            f"With half the trials the expected ranking on val would {best}, and {num_moved} of "
            f"{joined.height} backbones would change their rank."
        ),
        Table(
            table, "Expected ranking on val with all trials and with half", "half_the_budget", is_folded=True
        ),
    ]


def tuning_gain(report_data: ReportData) -> Sequence[Part]:
    """Gain of tuned over default hyperparameters."""
    if report_data.search.trials.is_empty():
        return [Absent(NO_SEARCH)]
    gains = gain_over_defaults(report_data.search.trials)
    return [
        Text(
            f"Tuning gained {_describe_gains(gains)} on val. The best trial is chosen on val too, so this is "
            "an optimistic estimate. Trial 0 has the defaults."
        ),
        Table(gains, "Gain of tuning over defaults", "gain_over_defaults", is_folded=True),
    ]


def _describe_gains(gains: pl.DataFrame) -> str:
    """The largest gain with its pair, the median, and how many pairs gained nothing."""
    measured = gains.drop_nulls("gain").sort("gain", "backbone", "task", descending=[True, False, False])
    if measured.is_empty():
        return "an unknown amount, as no pair has both numbers,"
    largest = measured.row(0, named=True)
    num_none = measured.filter(pl.col("gain") <= 0).height
    median = float(measured["gain"].median() or 0.0)  # type: ignore[arg-type]
    return (
        f"{largest['gain']:.3f} at most ({largest['backbone']} on {largest['task']}), {median:.3f} at the "
        f"median and nothing in {num_none} of {measured.height} pairs"
    )


def early_stopping(report_data: ReportData) -> Sequence[Part]:
    """Estimated regret where trials were stopped; exact regret by replay where none was."""
    learning = report_data.search.learning
    if learning.is_empty():
        return [Absent(NO_SEARCH)]
    return [*_estimated_regret(learning), *_replayed_halving(learning)]


def _estimated_regret(learning: pl.DataFrame) -> list[Part]:
    try:
        regret = stopping_regret(learning)
    except EmptyInputError:
        return [Text("No search trial was stopped early, so early stopping lost nothing.")]
    estimated = regret.drop_nulls("expected_regret")
    largest = max(estimated["largest_regret"].to_list(), default=0.0)
    saved = 100 * float(str(regret["epochs_saved"].sort().mean()))
    num_unknown = regret.height - estimated.height
    unknown = f" In {num_unknown} pairs no trial finished, so nothing is known." if num_unknown else ""
    return [
        Text(
            f"{regret['num_stopped'].sum()} of {regret['num_trials'].sum()} trials were stopped, which saved "
            f"{saved:.0f} % of the epochs. If they had gained as much as the finished trials of their pair "
            f"after the same epoch, the best on val would be better in "
            f"{estimated.filter(pl.col('expected_regret') > 0).height} of {estimated.height} pairs, by "
            f"{largest:.3f} at most.{unknown}"
        ),
        Text(
            "This is an estimate from below: a stopped trial that learns more slowly than every finished one "
            "would have gained more. Only a search without early stopping shows what was lost."
        ),
        Table(regret, "Estimated regret of early stopping", "stopping_regret"),
    ]


def _replayed_halving(learning: pl.DataFrame) -> list[Part]:
    try:
        replayed = replay_halving(learning)
    except EmptyInputError as error:
        return [Absent(str(error))]
    num_lost = replayed.filter(pl.col("regret") > 0).height
    return [
        Text(
            f"Replayed on {replayed.height} pairs whose trials all ran to their end, successive halving (one "
            f"of 4 goes on) would have lost the best trial in {num_lost} of them, by "
            f"{max(replayed['regret'].to_list()):.3f} on val at most. This is exact for halving that waits "
            "at every rung; `early_stopping: asha` does not wait, and keeps more trials."
        ),
        Table(replayed, "Successive halving replayed", "halving_replayed"),
    ]
