"""Measurements → scores."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.analysis import scores
from raybench.core.errors import (
    DuplicateMeasurementError,
    EmptyInputError,
    MissingMeasurementError,
    NonFiniteMeasurementError,
    UnknownNameError,
)


def table(*rows: dict) -> pl.DataFrame:
    """Measurements with the columns that matter here; what a row does not say is the usual."""
    usual = {
        "experiment": "e",
        "backbone": "a",
        "task": "knn@x",
        "split": "test",
        "condition": "clean",
        "metric": "accuracy",
        "seed": 0,
        "value": 0.5,
    }
    return pl.DataFrame([usual | row for row in rows])


def pairs(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["backbone", "task"], orient="row")


def test_seeds_are_averaged_by_hand():
    measured = table({"seed": 0, "value": 0.25}, {"seed": 1, "value": 0.75}, {"backbone": "b", "value": 1.0})
    assert scores.select_scores(measured).rows(named=True) == [
        {
            "backbone": "a",
            "task": "knn@x",
            "metric": "accuracy",
            "value": 0.5,
            "num_seeds": 2,
            "direction": "max",
        },
        {
            "backbone": "b",
            "task": "knn@x",
            "metric": "accuracy",
            "value": 1.0,
            "num_seeds": 1,
            "direction": "max",
        },
    ]


def test_only_clean_test_measurements_of_the_objective_count():
    noise = [{"split": "val"}, {"condition": "fog(severity=3)"}, {"metric": "nll"}]
    measured = table({"value": 0.25}, *({**row, "value": 0.9} for row in noise))
    assert scores.select_scores(measured)["value"].to_list() == [0.25]


def test_another_metric_brings_its_own_direction():
    measured = table({}, {"metric": "nll", "value": 2.0})
    assert scores.select_scores(measured, metric="nll").select("value", "direction").rows() == [(2.0, "min")]


def test_the_same_values_in_other_seeds_tie_to_the_last_bit():
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in floating point; two backbones must not.
    values = {"a": (0.1, 0.2, 0.3), "b": (0.3, 0.2, 0.1), "c": (0.2, 0.3, 0.1)}
    measured = table(
        *({"backbone": b, "seed": seed, "value": v} for b, vs in values.items() for seed, v in enumerate(vs))
    )
    assert scores.select_scores(measured)["value"].n_unique() == 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.floats(-1e3, 1e3) | st.sampled_from([1e300, -1e300, 1e-300, 3e-9, 5e14]), min_size=1, max_size=9
    ),
    st.randoms(use_true_random=False),
)
def test_the_mean_over_seeds_is_exact_in_any_order_of_rows(values, random):
    rows = [{"seed": seed, "value": value} for seed, value in enumerate(values)]
    mean = scores.select_scores(table(*rows))["value"].item()
    assert mean == pytest.approx(
        math.fsum(values) / len(values), rel=1e-12, abs=1e-12 * max(map(abs, values))
    )
    random.shuffle(rows)
    assert scores.select_scores(table(*rows))["value"].item() == mean


def test_each_task_has_its_own_metric():
    measured = table(
        {"value": 0.25},
        {"task": "retrieval@x", "metric": "map", "value": 0.5},
        {"task": "retrieval@x", "metric": "accuracy", "value": 0.9},
        {"metric": "map", "value": 0.9},
    )
    found = scores.select_scores(measured)
    assert found.select("task", "metric", "value").rows() == [
        ("knn@x", "accuracy", 0.25),
        ("retrieval@x", "map", 0.5),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_non_finite_values_are_refused(value):
    with pytest.raises(NonFiniteMeasurementError, match="accuracy of 'b' on 'knn@x' is"):
        scores.select_scores(table({}, {"backbone": "b", "value": value}))


def test_a_misspelled_metric_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        scores.select_scores(table({}), metric="acuracy")


def test_an_unmeasured_metric_is_refused():
    with pytest.raises(EmptyInputError, match=r"no measurement of ece on test \(clean\)"):
        scores.select_scores(table({}), metric="ece")


def test_an_empty_table_is_refused():
    with pytest.raises(EmptyInputError, match="run the experiment first"):
        scores.select_scores(table({}).clear())


def test_experiments_that_agree_count_once():
    measured = table({"experiment": "e"}, {"experiment": "recipe"}, {"experiment": "recipe", "seed": 1})
    assert scores.select_scores(measured)["num_seeds"].to_list() == [2]


def test_experiments_that_disagree_are_never_averaged():
    measured = table({"experiment": "e", "value": 0.5}, {"experiment": "f", "value": 0.75})
    with pytest.raises(
        DuplicateMeasurementError, match=r"experiments 'e' and 'f' found different .*--experiment"
    ):
        scores.select_scores(measured)


def test_a_complete_table_passes_unchanged():
    complete = pairs(("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"))
    assert scores.require_complete(complete).equals(complete)
    assert scores.require_complete(complete, complete).equals(complete)


def test_a_missing_pair_is_named():
    with pytest.raises(
        MissingMeasurementError, match=r"1 of 4 pairs have no score: 'b' on 'y'; run them again"
    ):
        scores.require_complete(pairs(("a", "x"), ("a", "y"), ("b", "x")))


def test_an_expected_backbone_without_any_score_is_missing():
    measured, expected = pairs(("a", "x"), ("b", "x")), pairs(("a", "x"), ("b", "x"), ("c", "x"))
    assert scores.require_complete(measured).height == 2
    with pytest.raises(MissingMeasurementError, match="'c' on 'x'"):
        scores.require_complete(measured, expected)


def test_many_missing_pairs_are_counted_and_five_named():
    names = "abcdefgh"
    with pytest.raises(MissingMeasurementError, match=r"7 of 16 .*'b' on 'y'.*'f' on 'y' and 2 more"):
        scores.require_complete(pairs(("a", "y"), *((name, "x") for name in names)))
