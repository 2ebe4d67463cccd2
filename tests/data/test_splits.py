import numpy as np
import pytest

from raybench.core.errors import DataError
from raybench.data.splits import cap_per_class, carve

NAMES = ("cat", "dog")
IDS = [f"{i:03d}" for i in range(100)]
LABELS = np.array([0] * 70 + [1] * 30)


def carved(ids, labels, fraction=0.2):
    return carve(ids, labels, fraction, purpose="val", class_names=NAMES)


def test_every_class_is_split_at_the_fraction():
    kept, val = carved(IDS, LABELS)
    assert np.bincount(LABELS[val]).tolist() == [14, 6]
    assert sorted([*kept, *val]) == list(range(100))


def test_the_drawn_split_has_not_changed():
    assert carved(IDS[:10], np.zeros(10, dtype=int), 0.3)[1].tolist() == [0, 1, 3]


def test_order_of_examples_does_not_matter():
    order = np.random.default_rng(0).permutation(100)
    _, before = carved(IDS, LABELS)
    _, after = carved([IDS[i] for i in order], LABELS[order])
    assert {IDS[i] for i in before} == {IDS[order[i]] for i in after}


def test_removing_an_example_does_not_change_the_split_of_other_classes():
    _, before = carved(IDS, LABELS)
    _, after = carved(IDS[1:], LABELS[1:])
    assert {IDS[i] for i in before if LABELS[i] == 1} == {IDS[i + 1] for i in after if LABELS[i + 1] == 1}


def test_a_class_of_two_is_split_one_and_one():
    kept, val = carved(["a", "b"], np.array([0, 0]))
    assert (len(kept), len(val)) == (1, 1)


def test_a_class_of_one_is_refused():
    with pytest.raises(DataError, match=r"class 'dog' has a single example .* the val split"):
        carved(["a", "b", "c"], np.array([0, 0, 1]))


def test_the_cap_keeps_that_many_of_each_class_and_caps_are_nested():
    few, more = cap_per_class(IDS, LABELS, 3), cap_per_class(IDS, LABELS, 10)
    assert np.bincount(LABELS[few]).tolist() == [3, 3]
    assert set(few) < set(more)


def test_a_cap_above_the_class_size_keeps_all():
    assert len(cap_per_class(IDS, LABELS, 1000)) == 100
