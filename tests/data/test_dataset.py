import pickle

import pytest

from raybench.catalog.datasets import find_dataset
from raybench.core.errors import SplitLockedError
from raybench.data.loading import load_dataset


@pytest.fixture(scope="module")
def digits():
    return load_dataset(find_dataset("digits"))


@pytest.mark.parametrize("ask", [lambda d: d.test, lambda d: d.split("test")], ids=["attribute", "method"])
def test_reading_test_raises_while_it_is_locked(digits, ask):
    with pytest.raises(SplitLockedError, match=r"test split of 'digits' is locked .* choose on val"):
        ask(digits)


def test_the_lock_survives_pickling_to_a_worker(digits):
    with pytest.raises(SplitLockedError):
        _ = pickle.loads(pickle.dumps(digits)).test


def test_unlocked_is_a_copy_and_leaves_the_original_locked(digits):
    assert len(digits.unlocked().test) == digits.num_examples("test")
    with pytest.raises(SplitLockedError):
        _ = digits.test


def test_unlocking_changes_neither_splits_nor_fingerprint(digits):
    assert digits.unlocked().train.ids == digits.train.ids
    assert digits.unlocked().fingerprint == digits.fingerprint


def test_the_fingerprint_depends_on_targets_and_order(digits):
    val = digits.val
    reversed_order = val.take(range(len(val))[::-1])
    relabelled = val.take(range(len(val)))
    relabelled.targets[0] = (relabelled.targets[0] + 1) % 10
    assert len({val.fingerprint, reversed_order.fingerprint, relabelled.fingerprint}) == 3


def test_taken_examples_keep_their_ids_and_images(digits):
    val = digits.val
    third = val.take([3])
    assert third.ids == [val.ids[3]]
    assert (third.image(0) == val.image(3)).all()
