import numpy as np
import pytest

from raybench.core.errors import DataError
from raybench.data.source import SourceSplit, choose_splits, encode_labels, require_labels


def test_without_a_mapping_splits_are_found_by_their_usual_names():
    available = ("train", "validation", "test", "extra")
    assert choose_splits({}, available, "x") == {"train": "train", "val": "validation", "test": "test"}


def test_an_only_split_is_train_whatever_its_name():
    assert choose_splits({}, ("all",), "x") == {"train": "all"}


def test_a_mapping_is_taken_as_it_is():
    assert choose_splits({"train": "trainval"}, ("trainval", "test"), "x") == {"train": "trainval"}


def test_a_split_that_is_not_there_is_named():
    with pytest.raises(DataError, match=r"x has no split 'dev' \(requested as val\); it has: train, test"):
        choose_splits({"train": "train", "val": "dev"}, ("train", "test"), "x")


def test_a_source_without_train_is_refused():
    with pytest.raises(DataError, match=r"x has no train split; it has: one, two\. Say which"):
        choose_splits({}, ("one", "two"), "x")


def test_labels_are_indices_into_sorted_names():
    names, labels = encode_labels(["b", "a", "b"])
    assert names == ("a", "b")
    assert labels.tolist() == [1, 0, 1]


def test_ids_and_targets_must_agree_in_number():
    with pytest.raises(ValueError, match="2 ids for 1 targets"):
        SourceSplit(ids=["a", "b"], targets=np.array([0]), read=lambda i: None, signature="")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, -1, -1], r"x: 2 of 3 images have a label outside 0…1, first -1 of image 1; .*hidden"),
        ([0, 2, 1], r"1 of 3 images have a label outside 0…1, first 2 of image 1; correct them"),
        (
            [0.0, float("nan")],
            "one whole number per image is expected as its class, got targets of type float64",
        ),
        ([[0, 1], [1, 0]], r"shape \(2, 2\)"),
    ],
)
def test_targets_that_are_no_class_ids_are_refused(targets, message):
    with pytest.raises(DataError, match=message):
        require_labels(np.array(targets), 2, "x")


def test_train_and_validation_alone_are_train_and_test():
    assert choose_splits({}, ("train", "validation"), "x") == {"train": "train", "test": "validation"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a"], "labels are numbers \\(1\\) and texts \\('a'\\)"),
        (["a", "-1"], "row 1 has the label '-1', which stands for a hidden one"),
        (["a", ""], "row 1 has no label"),
        ([(0, 1)], "row 0 has several labels or none"),
    ],
)
def test_labels_that_mean_no_class_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        encode_labels(values)
