"""Shares of variance over a packed grid, against sums by hand."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.analysis.packed_effects import INTERACTION, main_effects
from raybench.core.errors import EmptyInputError


def grid(score, rates=(1, 2, 3), decays=(0, 1)):
    return [{"lr": lr, "wd": wd, "accuracy": score(lr, wd)} for lr in rates for wd in decays]


def test_one_decisive_and_one_irrelevant():
    assert main_effects(grid(lambda lr, wd: lr**2), "accuracy") == pytest.approx(
        {"lr": 1, "wd": 0, INTERACTION: 0}
    )


def test_effects_that_exist_only_jointly_are_interaction():
    assert main_effects(grid(lambda lr, wd: lr == wd, (0, 1)), "accuracy") == pytest.approx(
        {"lr": 0, "wd": 0, INTERACTION: 1}
    )


def test_variances_of_a_sum_add():
    # Variance of lr over (1, 2, 3) is 2/3, of 2·wd over (0, 1) is 1.
    found = main_effects(grid(lambda lr, wd: lr + 2 * wd), "accuracy")
    assert found == pytest.approx({"lr": 0.4, "wd": 0.6, INTERACTION: 0})


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.permutations(range(6)))
def test_shares_add_up_to_one_whatever_the_order_of_heads(values, order):
    cells = [
        {"lr": lr, "wd": wd, "accuracy": value}
        for (lr, wd), value in zip(itertools.product((1, 2, 3), (0, 1)), values, strict=True)
    ]
    found = main_effects(cells, "accuracy")
    if found is not None:
        assert sum(found.values()) == pytest.approx(1)
        assert all(-1e-9 <= share <= 1 + 1e-9 for share in found.values())
        assert main_effects([cells[i] for i in order], "accuracy") == pytest.approx(found)


def test_equal_heads_have_no_variance_to_share():
    assert main_effects(grid(lambda lr, wd: 0.5), "accuracy") is None


def test_a_grid_with_holes_is_refused():
    with pytest.raises(EmptyInputError, match="full grid"):
        main_effects(grid(lambda lr, wd: lr)[:-1], "accuracy")
    with pytest.raises(EmptyInputError, match="full grid"):
        main_effects([], "accuracy")
