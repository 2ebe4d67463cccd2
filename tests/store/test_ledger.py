"""What became of every trial, and what survives a kill."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from raybench.core.errors import NonFiniteMeasurementError, StorageError
from raybench.core.records import Pair, TrialRecord
from raybench.store import layout, ledger

RECORD = TrialRecord(
    trial_id="b--knn_digits-00000000-search-001-11111111",
    experiment="e",
    backbone="b",
    task="knn@digits",
    stage="search",
    index=1,
    hparams={"lr": 0.1, "solver": "sgd", "k": 5, "flag": True},
    seed=0,
    status="completed",
    metrics={"val/accuracy": 0.5},
    chosen={"lr": 0.1, "epoch": 3},
    edges={"lr": "high"},
    curve=({"epoch": 1, "val/accuracy": 0.25}, {"epoch": 2, "val/accuracy": 0.5}),
    grid=({"lr": 0.1, "accuracy": 0.5},),
    provenance={"device": "cpu", "preprocessing": {"mean": [0.5, 0.5, 0.5]}},
    wall_seconds=1.5,
    started_at=1e9,
)


def changed(**changes) -> TrialRecord:
    return dataclasses.replace(RECORD, **changes)


def file_of(storage: Path, record: TrialRecord = RECORD) -> Path:
    return storage / "experiments" / record.experiment / "trials" / f"{record.trial_id}.json"


def test_a_record_comes_back_as_it_was(any_storage):
    ledger.write_record(any_storage, RECORD)
    assert ledger.read_record(any_storage, "e", RECORD.trial_id) == RECORD
    assert ledger.read_records(any_storage, "e") == [RECORD]


def test_numpy_scalars_come_back_as_numbers(tmp_path):
    ledger.write_record(
        tmp_path, changed(hparams={"k": np.int64(5)}, metrics={"val/accuracy": np.float64(0.5)})
    )
    (record,) = ledger.read_records(tmp_path, "e")
    assert record.hparams == {"k": 5}
    assert record.metrics == {"val/accuracy": 0.5}


def test_writing_again_replaces(any_storage):
    ledger.write_record(any_storage, changed(status="running"))
    ledger.write_record(any_storage, RECORD)
    assert [record.status for record in ledger.read_records(any_storage, "e")] == ["completed"]


def test_records_come_in_the_order_of_the_plan(any_storage):
    final, features = (
        changed(trial_id="1", stage="final", index=0),
        changed(trial_id="3", stage="features", index=0),
    )
    later = changed(trial_id="2", index=2)
    for record in (final, later, features, RECORD):
        ledger.write_record(any_storage, record)
    assert ledger.read_records(any_storage, "e") == [features, RECORD, later, final]


def test_one_pairs_records_can_be_asked_for(any_storage):
    pair = Pair(backbone="b", task="knn@digits")
    mine, other = changed(trial_id=f"{pair.slug}-search-001-0"), changed(trial_id="other")
    for record in (mine, other):
        ledger.write_record(any_storage, record)
    assert ledger.read_records(any_storage, "e", pair=pair) == [mine]


@pytest.mark.parametrize("length", [0, 1, 40, -1])
def test_a_torn_file_counts_as_absent_and_harms_nothing_else(tmp_path, length):
    torn = changed(trial_id="torn")
    ledger.write_record(tmp_path, RECORD)
    ledger.write_record(tmp_path, torn)
    file_of(tmp_path, torn).write_bytes(file_of(tmp_path, torn).read_bytes()[:length])
    assert ledger.read_records(tmp_path, "e") == [RECORD]
    assert ledger.read_record(tmp_path, "e", "torn") is None
    ledger.write_record(tmp_path, torn)
    assert len(ledger.read_records(tmp_path, "e")) == 2


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"schema": 1, "status": "completed"}', "\x00\xff"])
def test_foreign_files_are_passed_over(tmp_path, content):
    ledger.write_record(tmp_path, RECORD)
    file_of(tmp_path).with_name("foreign.json").write_text(content, encoding="latin-1")
    file_of(tmp_path).with_name(".half.json.partial").write_text("{")
    assert ledger.read_records(tmp_path, "e") == [RECORD]


def test_a_record_of_a_later_raybench_counts_as_absent(tmp_path):
    ledger.write_record(tmp_path, RECORD)
    content = json.loads(file_of(tmp_path).read_text())
    file_of(tmp_path).write_text(json.dumps(content | {"schema": 2}))
    assert ledger.read_records(tmp_path, "e") == []


def test_fields_that_are_not_known_are_ignored(tmp_path):
    ledger.write_record(tmp_path, RECORD)
    content = json.loads(file_of(tmp_path).read_text())
    file_of(tmp_path).write_text(json.dumps(content | {"mood": "good"}))
    assert ledger.read_records(tmp_path, "e") == [RECORD]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_metric_that_is_no_number_is_refused(tmp_path, value):
    with pytest.raises(NonFiniteMeasurementError, match="record the trial as failed with a reason"):
        ledger.write_record(tmp_path, changed(metrics={"val/nll": value}))


def test_an_experiment_nobody_ran_has_no_records(any_storage):
    assert ledger.read_records(any_storage, "e") == []
    assert ledger.read_record(any_storage, "e", "t") is None
    assert ledger.load_spec(any_storage, "e") is None
    assert not ledger.has_spec(any_storage, "e")
    assert ledger.experiments(any_storage) == []
    assert ledger.experiments(any_storage / "absent") == []


def test_a_spec_comes_back_as_it_was(any_storage):
    spec = {"name": "e", "seeds": [0, 1], "budget": {"wall_seconds": None}}
    ledger.save_spec(any_storage, "e", spec)
    assert ledger.has_spec(any_storage, "e")
    assert ledger.load_spec(any_storage, "e") == spec


def test_experiments_are_those_with_a_spec_or_trials(tmp_path):
    ledger.save_spec(tmp_path, "with_spec", {})
    ledger.write_record(tmp_path, RECORD)
    (tmp_path / "experiments" / "empty").mkdir()
    assert ledger.experiments(tmp_path) == ["e", "with_spec"]


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_spec_that_cannot_be_read_is_an_error_because_nothing_may_overwrite_it(tmp_path, content):
    ledger.save_spec(tmp_path, "e", {})
    (tmp_path / "experiments" / "e" / "spec.json").write_text(content)
    with pytest.raises(StorageError, match=r"spec\.json"):
        ledger.load_spec(tmp_path, "e")


def test_checkpoints_lie_beside_the_trials_and_are_not_created_by_asking(tmp_path):
    folder = layout.checkpoint_dir(tmp_path, "e", "t")
    assert folder == tmp_path / "experiments" / "e" / "checkpoints" / "t"
    assert not folder.exists()


def test_a_name_is_pinned_to_the_content_it_first_stood_for(any_storage):
    ledger.pin(any_storage, "e", "backbone", "b", "aaaa")
    ledger.pin(any_storage, "e", "backbone", "b", "aaaa")
    with pytest.raises(
        StorageError,
        match=r"backbone 'b' has changed since experiment 'e' began \(content aaaa then, bbbb now\)",
    ):
        ledger.pin(any_storage, "e", "backbone", "b", "bbbb")
    ledger.pin(any_storage, "e", "dataset", "b", "bbbb")
    ledger.pin(any_storage, "other", "backbone", "b", "bbbb")


def test_a_torn_pin_is_told_and_not_taken_for_a_change(tmp_path):
    ledger.pin(tmp_path, "e", "backbone", "b", "aaaa")
    next((tmp_path / "experiments" / "e" / "identities").iterdir()).write_text("{")
    with pytest.raises(StorageError, match="cannot read"):
        ledger.pin(tmp_path, "e", "backbone", "b", "aaaa")
