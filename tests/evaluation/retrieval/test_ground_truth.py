"""Ground truths: difficulties of Oxford and Paris, classes, and what is refused."""

import json

import numpy as np
import pytest

from raybench.errors import DataError
from raybench.evaluation.retrieval.ground_truth import ClassTruth, ListedTruth, read_revisited

GND = {
    "imlist": [f"image_{i}" for i in range(8)],
    "qimlist": ["query"],
    "gnd": [{"easy": [1, 4], "hard": [2], "junk": [7], "bbx": [0, 0, 1, 1]}],
}


@pytest.mark.parametrize(
    ("difficulty", "positives", "junk"),
    [("easy", [1, 4], [2, 7]), ("medium", [1, 2, 4], [7]), ("hard", [2], [1, 4, 7])],
)
def test_difficulties_divide_the_lists_as_revisitop_does(tmp_path, difficulty, positives, junk):
    (tmp_path / "gnd.json").write_text(json.dumps(GND))
    truth = read_revisited(tmp_path / "gnd.json").at(difficulty)
    assert truth.positives(0).tolist() == positives
    assert truth.junk(0).tolist() == junk


def test_a_pickle_is_refused_unopened(tmp_path):
    (tmp_path / "gnd.pkl").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(DataError, match="convert the pickle"):
        read_revisited(tmp_path / "gnd.pkl")


def test_an_index_outside_the_gallery_is_refused(tmp_path):
    broken = {**GND, "gnd": [{"easy": [8], "hard": [], "junk": []}]}
    (tmp_path / "gnd.json").write_text(json.dumps(broken))
    with pytest.raises(DataError, match=r"outside \[0, 8\)"):
        read_revisited(tmp_path / "gnd.json")


def test_an_image_cannot_be_positive_and_junk():
    with pytest.raises(DataError, match="both positive and junk"):
        ListedTruth([np.array([1, 2])], [np.array([2])])


def test_classes_list_their_members_and_unknown_ones_nobody():
    truth = ClassTruth(np.array([1, 5]), np.array([1, 0, 1]))
    assert truth.positives(0).tolist() == [0, 2]
    assert truth.positives(1).tolist() == []
    assert len(truth) == 2
    assert truth.junk(0).size == 0
