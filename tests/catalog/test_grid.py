"""Grids: values at equal distances, both ends included, in the stated order, every choice once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.catalog.grid import grid_choices, grid_values
from raybench.catalog.search_spaces import FINETUNE, KNN, Choice, Float, Int, contains


def test_values_by_hand():
    assert grid_values(Float(low=0.0, high=0.3, default=0.1), 4) == [0.0, 0.1, 0.2, 0.3]
    assert grid_values(Float(low=1e-4, high=1.0, log=True, default=1e-3), 3) == [1e-4, 1e-2, 1.0]
    assert grid_values(Int(low=1, high=9, default=5), 3) == [1, 5, 9]
    assert grid_values(Int(low=1, high=100, log=True, default=5), 3) == [1, 10, 100]
    assert grid_values(Int(low=1, high=3, default=2), 9) == [1, 2, 3]
    assert grid_values(Choice(options=("a", "b"), default="b"), None) == ["a", "b"]


def test_the_defaults_come_first_and_the_last_hyperparameter_varies_fastest():
    space = {"a": Choice(options=(1, 2), default=2), "b": Choice(options=("x", "y"), default="y")}
    assert [tuple(choice.values()) for choice in grid_choices(space, {})] == [
        (2, "y"),
        (1, "x"),
        (1, "y"),
        (2, "x"),
    ]


def test_defaults_between_grid_points_are_one_choice_more():
    space = {"x": Float(low=0.0, high=1.0, default=0.3)}
    assert [choice["x"] for choice in grid_choices(space, {"x": 3})] == [0.3, 0.0, 0.5, 1.0]


def test_a_hyperparameter_that_is_not_searched_is_not_multiplied():
    space = {**KNN, "k": Int(low=1, high=9, default=5, when={"feature_norm": ("l2",)})}
    # l2 with 1, 5 and 9; standardize and none with the default 5 only.
    assert len(grid_choices(space, {"k": 3})) == 3 + 2


@given(st.integers(2, 5), st.integers(2, 4))
def test_every_choice_lies_in_the_space_and_none_repeats(num_lr, num_decay):
    points = {"lr": num_lr, "weight_decay": num_decay, "layer_decay": 2, "drop_path": 2}
    choices = grid_choices(FINETUNE, points)
    assert all(contains(FINETUNE, choice) for choice in choices)
    assert len({tuple(choice.items()) for choice in choices}) == len(choices)
    assert len(choices) == num_lr * num_decay * 4 + 1


def test_a_range_without_a_number_and_a_huge_grid_are_refused():
    with pytest.raises(ValueError, match="needs a number of values"):
        grid_choices(FINETUNE, {"lr": 3})
    with pytest.raises(ValueError, match="100,000,000 combinations"):
        grid_choices(FINETUNE, dict.fromkeys(FINETUNE, 100))
