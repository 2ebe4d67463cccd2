"""Withdrawing a final trial's results deletes all of them and no other trial's."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.core.errors import StorageError
from raybench.core.records import Measurement, Pair, Task
from raybench.store import layout
from raybench.store.artifacts import write_classifier, write_curves, write_per_query
from raybench.store.files import file_sizes
from raybench.store.measurements import read_measurements, write_measurements
from raybench.store.predictions import write_predictions
from raybench.store.withdrawal import withdraw_results

MEASUREMENT = Measurement(
    experiment="e",
    backbone="b",
    task=Task("knn", "digits"),
    split="test",
    metric="accuracy",
    value=0.5,
    num_examples=4,
    seed=0,
)
EXAMPLES = SimpleNamespace(ids=("x",), targets=np.array([0]), logits=np.zeros((1, 2)))
FOLDERS = {"measurements", "predictions", "classifiers", "curves", "per_query"}


def write_all(storage, experiment: str, trial_id: str) -> set[str]:
    """Write one file of each kind, and two measurement files; return the names of all files there are."""
    where = (storage, experiment, trial_id)
    write_measurements(*where, [MEASUREMENT], {})
    write_measurements(*where, [MEASUREMENT], {}, evaluator="calibration")
    write_predictions(*where, {"test": EXAMPLES}, pair=Pair(backbone="b", task=Task("knn", "digits")), seed=0)
    write_classifier(*where, {"weights": torch.ones(2)})
    write_curves(*where, "calibration", {"reliability": []}, ("few examples",))
    write_per_query(*where, {"test": {"map": np.ones(2)}})
    return set(file_sizes(storage))


def test_no_result_of_the_withdrawn_trial_is_left_and_all_others_are(any_storage):
    others = write_all(any_storage, "e", "trial-10") | write_all(any_storage, "other", "trial-1")
    withdrawn = write_all(any_storage, "e", "trial-1") - others
    assert {name.partition("/")[0] for name in withdrawn} == FOLDERS
    assert len(withdrawn) == 6
    withdraw_results(any_storage, "e", "trial-1")
    assert set(file_sizes(any_storage)) == others
    withdraw_results(any_storage, "e", "trial-1")  # Repeated by a run that was killed in between.
    assert set(file_sizes(any_storage)) == others


def test_another_winner_can_be_measured_after_a_withdrawal(any_storage):
    write_measurements(any_storage, "e", "old", [MEASUREMENT], {})
    withdraw_results(any_storage, "e", "old")
    write_measurements(any_storage, "e", "new", [MEASUREMENT], {})
    assert read_measurements(any_storage)["trial_id"].to_list() == ["new"]


def test_a_file_that_cannot_be_deleted_is_named(tmp_path):
    layout.classifier_file(tmp_path, "e", "t").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot remove '.*t\.safetensors'"):
        withdraw_results(tmp_path, "e", "t")
