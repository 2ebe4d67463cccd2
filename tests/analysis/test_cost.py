"""Pareto front against a plain loop; recommendations by hand and refused with the constraint to loosen."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.analysis.cost import pareto_front, recommend
from raybench.core.errors import EmptyInputError, MissingMeasurementError

TABLE = pl.DataFrame(
    {
        "backbone": ["big", "mid", "small", "tiny", "odd"],
        "mean_zscore": [1.0, 0.8, 0.2, -1.0, 0.9],
        "params_m": [90.0, 30.0, 20.0, 5.0, None],
        "images_per_second": [100.0, 400.0, 350.0, 2000.0, 500.0],
    }
)
WAYS = {"mean_zscore": "max", "params_m": "min"}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
def test_the_front_is_what_a_loop_finds(rows):
    values = np.array(rows)
    table = pl.DataFrame(
        {"backbone": [f"b{i}" for i in range(len(rows))], "x": values[:, 0], "y": values[:, 1]}
    )
    table = table.with_columns(z=pl.Series(values[:, 2]))
    good = values * np.array([1, -1, 1])
    expected = [not any((other >= own).all() and (other > own).any() for other in good) for own in good]
    found = pareto_front(table, {"x": "max", "y": "min", "z": "max"})
    assert found["on_front"].to_list() == expected
    assert found["backbone"].to_list() == table["backbone"].to_list()
    assert any(expected)


def test_the_front_by_hand_is_null_for_unknown_values():
    found = pareto_front(TABLE.vstack(TABLE[2:3].with_columns(backbone=pl.lit("worse"), params_m=25.0)), WAYS)
    assert found["on_front"].to_list() == [True, True, True, True, None, False]
    assert found["dominated_by"].to_list() == [None] * 5 + ["small"]


def test_an_unknown_objective_is_refused():
    with pytest.raises(MissingMeasurementError, match="'flops'"):
        pareto_front(TABLE, {"flops": "min"})


def test_recommendations_by_hand():
    wins = pl.DataFrame({"backbone": ["mid"], "other": ["small"], "probability": [0.87]})
    found = recommend(TABLE, at_most={"params_m": 30}, at_least={"images_per_second": 200}, top=2, wins=wins)
    assert found["backbone"].to_list() == ["mid", "small"]
    assert found["reason"][0] == (
        "best of 3 by mean z-score +0.80; params_m 30 (at most 30), images_per_second 400 (at least 200)"
    )
    assert found["doubt"].to_list() == [
        "beats small in 87 % of bootstrap replicates; left out because it is not known: params_m of 1",
        "no bootstrap: whether it truly beats tiny is not known",
    ]


def test_without_constraints_the_order_is_that_of_the_scores():
    found = recommend(TABLE, top=9)
    assert found["backbone"].to_list() == ["big", "odd", "mid", "small", "tiny"]
    assert found["doubt"][4] == "nobody else meets the constraints"


def test_limits_that_exclude_every_backbone_are_counted_in_the_message():
    with pytest.raises(EmptyInputError) as caught:
        recommend(TABLE, at_most={"params_m": 1}, at_least={"images_per_second": 400})
    assert str(caught.value) == (
        "no backbone meets all limits: of 5, params_m at most 1 excludes 5 (1 because it is not known), "
        "images_per_second at least 400 excludes 2; loosen the first one first."
    )
    with pytest.raises(EmptyInputError, match="no backbone has a score"):
        recommend(TABLE.head(0))


def test_an_unmeasured_quantity_is_refused():
    with pytest.raises(MissingMeasurementError, match="'flops' was not measured"):
        recommend(TABLE, at_most={"flops": 3})
