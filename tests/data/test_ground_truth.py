"""Ground truth by class and by list, and with images left out."""

import numpy as np
import pytest

from raybench.core.errors import DataError
from raybench.data.ground_truth import ClassTruth, ListedTruth


def test_an_image_cannot_be_positive_and_junk():
    with pytest.raises(DataError, match="both positive and junk"):
        ListedTruth([np.array([1, 2])], [np.array([2])])


def test_positives_are_the_class_members_and_none_for_an_unknown_class():
    truth = ClassTruth(np.array([1, 5]), np.array([1, 0, 1]))
    assert truth.positives(0).tolist() == [0, 2]
    assert truth.positives(1).tolist() == []
    assert len(truth) == 2
    assert truth.junk(0).size == 0


def test_indices_are_renumbered_when_gallery_images_are_left_out():
    truth = ListedTruth([np.array([0, 3]), np.array([2])], [np.array([4]), np.array([], dtype=int)])
    left = truth.take(np.array([0])).among(np.array([0, 3, 4]), 5)
    assert left.positives(0).tolist() == [0, 1]
    assert left.junk(0).tolist() == [2]
    assert truth.among(np.array([0, 1]), 5).positives(1).tolist() == []


def test_the_digest_distinguishes_positives_from_junk_and_ignores_order():
    one, other = np.array([1, 2]), np.array([2, 1])
    none = np.array([], dtype=int)
    assert ListedTruth([one], [none]).digest == ListedTruth([other], [none]).digest
    assert ListedTruth([one], [none]).digest != ListedTruth([none], [one]).digest
