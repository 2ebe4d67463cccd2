"""Best-of-k: against every subset, by hand, by law, and the ranking at half the budget."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.analysis import tuning_curves
from raybench.analysis.aggregate_ranking import aggregate_ranking
from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError

VALUES = st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=1, max_size=8).map(np.array)


def trials(values: dict[str, list[float]], direction: str = "max") -> pl.DataFrame:
    rows = [
        {"backbone": name, "task": "t", "index": index, "direction": direction, "value": value}
        for name, column in values.items()
        for index, value in enumerate(column)
    ]
    return pl.DataFrame(rows)


@settings(deadline=None)
@given(VALUES)
def test_the_curve_is_the_mean_over_all_subsets(values):
    expected = [np.mean([max(s) for s in combinations(values, k)]) for k in range(1, values.size + 1)]
    assert tuning_curves.expected_best(values) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(VALUES, st.floats(0.01, 100), st.floats(-10, 10))
def test_it_starts_at_the_mean_ends_at_the_best_never_falls_and_scales(values, scale, shift):
    curve = tuning_curves.expected_best(values)
    assert curve[0] == pytest.approx(values.mean(), abs=1e-9)
    assert curve[-1] == pytest.approx(values.max())
    assert (np.diff(curve) >= -1e-9).all()
    assert tuning_curves.expected_best(scale * values + shift) == pytest.approx(
        scale * curve + shift, abs=1e-6
    )


def test_a_thousand_trials_do_not_overflow():
    curve = tuning_curves.expected_best(np.random.default_rng(0).random(1000))
    # Of k uniform numbers the largest is expected at k / (k + 1).
    assert curve[[0, 9, 99]] == pytest.approx([0.5, 10 / 11, 100 / 101], abs=0.03)


def test_lower_is_better_expects_the_smallest():
    found = tuning_curves.best_of_k(trials({"a": [1.0, 2.0, 4.0]}, "min"))
    assert found["expected"].to_list() == pytest.approx([7 / 3, 4 / 3, 1.0])
    assert found["num_trials"].to_list() == [3, 3, 3]


def test_scores_at_half_the_budget_rank_differently():
    # b finds its peak in one trial of four, a is good every time.
    table = trials({"a": [0.8, 0.8, 0.8, 0.8], "b": [0.1, 0.1, 0.1, 0.9]})
    full, half = (
        aggregate_ranking(tuning_curves.scores_at_budget(table, share=s))["backbone"].to_list()
        for s in (1.0, 0.5)
    )
    assert full == ["b", "a"]
    assert half == ["a", "b"]


def test_gain_of_the_second_half_by_hand():
    found = tuning_curves.budget_sufficiency(trials({"a": [1.0, 2.0, 4.0], "b": [3.0, 3.0, 3.0]}))
    # a: 7/3, 10/3, 4; half of three trials is two.
    assert found.filter(backbone="a").row(0)[2:] == pytest.approx((10 / 3, 4.0, 2 / 3, (2 / 3) / (5 / 3)))
    assert found.filter(backbone="b").row(0)[2:] == pytest.approx((3.0, 3.0, 0.0, 0.0))


@pytest.mark.parametrize(("direction", "best", "gain"), [("max", 0.9, 0.4), ("min", 0.3, 0.2)])
def test_gain_over_defaults(direction, best, gain):
    row = tuning_curves.gain_over_defaults(trials({"a": [0.5, 0.9, 0.3]}, direction)).row(0, named=True)
    assert (row["default"], row["best"], row["num_trials"]) == (0.5, best, 3)
    assert row["gain"] == pytest.approx(gain)


def test_a_default_that_did_not_finish_is_null():
    table = trials({"a": [0.5, 0.9]}).filter(pl.col("index") > 0)
    assert tuning_curves.gain_over_defaults(table)["gain"].to_list() == [None]


def test_no_trials_and_non_finite_values_are_refused():
    with pytest.raises(EmptyInputError):
        tuning_curves.expected_best(np.array([]))
    with pytest.raises(NonFiniteMeasurementError):
        tuning_curves.expected_best(np.array([1.0, np.nan]))
    with pytest.raises(EmptyInputError):
        tuning_curves.best_of_k(trials({"a": [1.0]}).head(0))
