import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raybench.evaluation.subset import hashed_subset

IDS = [f"image-{i}" for i in range(100)]


@given(st.permutations(IDS), st.integers(1, 100))
def test_the_same_examples_are_chosen_in_any_order(ids, number):
    chosen = {ids[i] for i in hashed_subset(ids, number)}
    assert chosen == {IDS[i] for i in hashed_subset(IDS, number)}
    assert len(chosen) == number


def test_a_smaller_subset_lies_in_a_larger_one():
    assert set(hashed_subset(IDS, 10)) < set(hashed_subset(IDS, 40))


def test_none_and_more_than_there_are_take_all():
    assert np.array_equal(hashed_subset(IDS, None), np.arange(100))
    assert np.array_equal(hashed_subset(IDS, 101), np.arange(100))
