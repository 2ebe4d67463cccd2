"""Ranks, z-scores and probabilities of replicates: by hand, against the frames, and consistent."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.analysis.aggregate_ranking import RankingRule, aggregate_ranking
from raybench.analysis.bootstrap import Replicates, example_means, replicate
from raybench.analysis.intervals import (
    best_probabilities,
    ranking_intervals,
    ranks_of,
    win_probabilities,
    zscores_of,
)
from raybench.analysis.zscores import overall, rank_within_task, zscore_within_task


def test_zscores_and_ranks_are_those_of_the_frames():
    values = np.random.default_rng(3).random((6, 4)).round(1)
    rows = [
        {"backbone": f"b{i}", "task": f"t{j}", "value": float(value), "direction": "max"}
        for (i, j), value in np.ndenumerate(values)
    ]
    ranking = pl.DataFrame(rows).pipe(zscore_within_task).pipe(rank_within_task).pipe(overall)
    assert zscores_of(values) == pytest.approx(ranking.sort("backbone")["mean_zscore"].to_numpy())
    assert ranks_of(zscores_of(values)).argmin() == int(ranking["backbone"][0][1:])


def test_a_constant_task_has_zscore_zero():
    assert zscores_of(np.array([[0.3, 1.0], [0.3, 2.0]])) == pytest.approx([-(0.5**0.5) / 2, 0.5**0.5 / 2])


def test_probabilities_worked_by_hand():
    # Three replicates of one task: a wins two, and they tie in the third.
    drawn = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5]])[:, :, None]
    replicates = Replicates(backbones=("a", "b"), tasks=("t",), estimates=drawn[0], resampled=drawn)
    assert win_probabilities(replicates).rows() == [
        ("a", "b", pytest.approx(5 / 6)),
        ("b", "a", pytest.approx(1 / 6)),
    ]
    ranking = ranking_intervals(replicates, top=2)
    assert ranking["p_first"].to_list() == pytest.approx([5 / 6, 1 / 6])
    assert ranking["p_top"].to_list() == [1.0, 1.0]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_probabilities_are_consistent(seed, top):
    rng = np.random.default_rng(seed)
    per_example = {
        t: example_means(rng.integers(0, 2, (5, 2, int(rng.integers(1, 30))))) for t in ("t0", "t1")
    }
    replicates = replicate(per_example, list("abcde"), num_replicates=60, seed=seed)
    ranking = ranking_intervals(replicates, top=top)
    assert ranking["p_first"].sum() == pytest.approx(1)
    assert ranking["p_top"].sum() == pytest.approx(top)
    assert (ranking["rank_low"] <= ranking["rank_high"]).all()
    pairs = win_probabilities(replicates)
    mirrored = pairs.join(pairs, left_on=["backbone", "other"], right_on=["other", "backbone"])
    assert (mirrored["probability"] + mirrored["probability_right"]).to_numpy() == pytest.approx(1)


def test_weights_of_tasks_weigh_z_scores_as_the_macro_mean_does():
    values = np.random.default_rng(3).random((4, 3))
    scores = pl.DataFrame(
        [
            {"backbone": f"b{i}", "task": f"t{j}", "category": "xxy"[j], "direction": "max", "value": v}
            for (i, j), v in np.ndenumerate(values)
        ]
    )
    macro = aggregate_ranking(scores, RankingRule(mean="macro")).sort("backbone")["mean_zscore"].to_numpy()
    assert zscores_of(values, weights=np.array([0.25, 0.25, 0.5])) == pytest.approx(macro)


def test_the_probability_of_being_best_among_some_ignores_who_is_left_out():
    rng = np.random.default_rng(0)
    cells = {"t": example_means(rng.random((3, 400)) < np.array([[0.9], [0.5], [0.5]]))}
    drawn = replicate(cells, ["a", "b", "c"], num_replicates=200)
    assert best_probabilities(drawn, ["a", "b", "c"])["p_first"].to_list() == [1.0, 0.0, 0.0]
    among = best_probabilities(drawn, ["c", "b"])
    assert among["backbone"].to_list() == ["c", "b"]
    assert among["p_first"].sum() == pytest.approx(1.0)
    beats = win_probabilities(drawn).filter(backbone="c", other="b")["probability"].item()
    assert among["p_first"][0] == pytest.approx(beats)
