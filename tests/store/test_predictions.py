"""Per-example predictions of final trials."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from raybench.core.errors import StorageError
from raybench.core.records import Pair, Task
from raybench.store.files import path_or_buffer
from raybench.store.layout import predictions_file
from raybench.store.predictions import PREDICTION_SCHEMA, predictions_of, write_predictions

PAIR = Pair(backbone="b", task=Task("knn", "digits"))
TEST = SimpleNamespace(
    ids=("y", "x"), targets=np.array([1, 0]), logits=np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
)
VAL = SimpleNamespace(ids=("z",), targets=np.array([2]), logits=np.array([[4.0, 5.0, 6.0]]))


def test_predictions_are_read_by_split_in_the_order_they_were_written(any_storage):
    write_predictions(any_storage, "e", "t", {"val": VAL, "test": TEST}, pair=PAIR, seed=3)
    by_split = predictions_of(any_storage, "e", "t")
    assert list(by_split) == ["val", "test"]
    for split, written in (("val", VAL), ("test", TEST)):
        ids, targets, logits = by_split[split]
        assert ids == written.ids
        np.testing.assert_array_equal(targets, written.targets)
        np.testing.assert_array_equal(logits, written.logits.astype(np.float32))


def test_every_row_holds_the_identity_of_its_trial(any_storage):
    write_predictions(any_storage, "e", "t", {"test": TEST}, pair=PAIR, seed=3)
    frame = pl.read_parquet(path_or_buffer(predictions_file(any_storage, "e", "t")))
    assert frame.schema == PREDICTION_SCHEMA
    assert frame.drop("logits").rows() == [
        ("e", "b", "knn@digits", "test", 3, "t", "y", 1),
        ("e", "b", "knn@digits", "test", 3, "t", "x", 0),
    ]


def test_trials_may_have_different_numbers_of_classes(tmp_path):
    for trial_id, num_classes in (("two", 2), ("five", 5)):
        examples = SimpleNamespace(ids=("x",), targets=np.array([0]), logits=np.zeros((1, num_classes)))
        write_predictions(tmp_path, "e", trial_id, {"test": examples}, pair=PAIR, seed=0)
        assert predictions_of(tmp_path, "e", trial_id)["test"][2].shape == (1, num_classes)


def test_missing_predictions_are_a_storage_error_that_names_the_file(any_storage):
    with pytest.raises(StorageError, match=r"cannot read '.*t\.parquet'"):
        predictions_of(any_storage, "e", "t")
