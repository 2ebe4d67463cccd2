import numpy as np
import pytest

from raybench.core.errors import DataError
from raybench.data.source import SourceSplit, choose_splits, encode_labels


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
