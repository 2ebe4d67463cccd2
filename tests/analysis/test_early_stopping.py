"""What stopping early costs, on learning curves whose end is known."""

import polars as pl
import pytest
from scipy.stats import kendalltau

from raybench.analysis.early_stopping import LEARNING, replay_halving, stopping_regret
from raybench.core.errors import EmptyInputError


def learning(curves, *, stopped=(), direction="max", backbone="b"):
    """`curves`: one list of values per trial, epochs from 1."""
    rows = [
        (backbone, "finetune@digits", direction, index, index in stopped, epoch, value)
        for index, values in enumerate(curves)
        for epoch, value in enumerate(values, 1)
    ]
    return pl.DataFrame(rows, schema=LEARNING, orient="row")


def test_regret_is_zero_if_all_trials_gain_alike():
    found = stopping_regret(learning([[0.5, 0.6, 0.7, 0.8], [0.4], [0.3]], stopped=(1, 2))).row(0, named=True)
    assert found["num_stopped"] == 2
    assert found["expected_regret"] == 0
    assert found["probability"] == 0
    assert found["best"] == 0.8
    assert found["epochs_saved"] == pytest.approx(1 - 6 / 12)


def test_the_estimate_adds_gains_of_finished_trials_to_the_stopped_ones():
    # Finished: 0.2 → 0.8 gains 0.6 after epoch 1, 0.7 → 0.75 gains 0.05. Stopped at epoch 1 with 0.5.
    found = stopping_regret(learning([[0.2, 0.8], [0.7, 0.75], [0.5]], stopped=(2,))).row(0, named=True)
    assert found["largest_regret"] == pytest.approx(0.5 + 0.6 - 0.8)
    assert found["expected_regret"] == pytest.approx(0.3 / 2)
    assert found["probability"] == 0.5


def test_lower_is_better_gives_the_same_regret():
    curves, stopped = [[0.2, 0.8], [0.7, 0.75], [0.5]], (2,)
    turned = [[-value for value in curve] for curve in curves]
    one = stopping_regret(learning(curves, stopped=stopped)).row(0, named=True)
    other = stopping_regret(learning(turned, stopped=stopped, direction="min")).row(0, named=True)
    assert other == {**one, "best": -one["best"]}


def test_without_a_finished_trial_the_regret_is_null():
    found = stopping_regret(learning([[0.2], [0.7]], stopped=(0, 1))).row(0, named=True)
    assert found["expected_regret"] is None
    assert found["probability"] is None


def test_without_a_stopped_trial_there_is_no_regret_to_estimate():
    with pytest.raises(EmptyInputError, match="no search trial was stopped"):
        stopping_regret(learning([[0.2, 0.3]]))


def test_halving_loses_a_late_bloomer_with_known_regret():
    # 16 epochs: rungs at 1 and 4. The bloomer is last at the first rung and best at the end.
    steady = [[0.5 - 0.01 * i] * 15 + [0.6 - 0.01 * i] for i in range(7)]
    bloomer = [0.1] * 15 + [0.9]
    found = replay_halving(learning([*steady, bloomer])).row(0, named=True)
    assert found["best"] == 0.9
    assert found["best_kept"] == pytest.approx(0.6)
    assert found["regret"] == pytest.approx(0.3)
    # Of 8, 6 stop after 1 epoch, 1 of the 2 left after 4, 1 runs all 16.
    assert found["epochs_saved"] == pytest.approx(1 - (6 * 1 + 4 + 16) / (8 * 16))


def test_halving_has_no_regret_if_the_order_never_changes():
    curves = [[level + 0.01 * epoch for epoch in range(16)] for level in (0.1, 0.4, 0.2, 0.3)]
    found = replay_halving(learning(curves)).row(0, named=True)
    assert found["regret"] == 0
    assert found["rank_agreement"] == 1


def test_the_agreement_of_orders_is_kendalls():
    curves = [[0.1, 0.9], [0.2, 0.3], [0.2, 0.5], [0.4, 0.5], [0.3, 0.35]]
    best = [max(curve) for curve in curves]
    found = replay_halving(learning(curves))["rank_agreement"][0]
    assert found == pytest.approx(kendalltau([curve[0] for curve in curves], best).statistic)


def test_a_pair_with_stopped_trials_is_not_replayed():
    stopped = learning([[0.1, 0.2], [0.3]], stopped=(1,))
    whole = learning([[0.1, 0.2], [0.3, 0.4]], backbone="c")
    assert replay_halving(pl.concat([stopped, whole]))["backbone"].to_list() == ["c"]
    with pytest.raises(EmptyInputError, match="cannot be replayed"):
        replay_halving(stopped)


def test_the_order_of_rows_does_not_matter():
    table = learning([[0.2, 0.8], [0.7, 0.75], [0.5, 0.6]])
    assert replay_halving(table.sample(fraction=1, shuffle=True, seed=1)).equals(replay_halving(table))
