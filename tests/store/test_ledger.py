"""The ledger: trial records, spec and pinned digests are read as written; damaged files harm nothing."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from raybench.core.errors import DamagedResultError, NonFiniteMeasurementError, StorageError
from raybench.core.records import CurvePoint, Pair, Task, TrialRecord, metric_values
from raybench.store import layout, ledger

RECORD = TrialRecord(
    trial_id="b--knn_digits-00000000-search-001-11111111",
    experiment="e",
    pair=Pair(backbone="b", task=Task.parse("knn@digits")),
    stage="search",
    index=1,
    hparams={"lr": 0.1, "solver": "sgd", "k": 5, "flag": True},
    seed=0,
    status="completed",
    values=metric_values({"val/accuracy": 0.5}),
    chosen={"lr": 0.1, "epoch": 3},
    edges={"lr": "high"},
    curve=(
        CurvePoint(epoch=1, metrics={"accuracy": 0.25}),
        CurvePoint(epoch=2, metrics={"accuracy": 0.5}),
    ),
    grid=({"lr": 0.1, "accuracy": 0.5},),
    provenance={"device": "cpu", "preprocessing": {"mean": [0.5, 0.5, 0.5]}},
    wall_seconds=1.5,
    started_at=1e9,
)


def changed(**changes) -> TrialRecord:
    return dataclasses.replace(RECORD, **changes)


def file_of(storage: Path, record: TrialRecord = RECORD) -> Path:
    return storage / "experiments" / record.experiment / "trials" / f"{record.trial_id}.json"


def test_a_record_is_read_as_it_was_written(any_storage):
    ledger.write_record(any_storage, RECORD)
    assert ledger.read_record(any_storage, "e", RECORD.trial_id) == RECORD
    assert ledger.read_records(any_storage, "e") == [RECORD]


def test_numpy_scalars_are_read_as_numbers(tmp_path):
    ledger.write_record(
        tmp_path,
        changed(
            hparams={"k": np.int64(5)},
            values=metric_values({"val/accuracy": np.float64(0.5)}),
        ),
    )
    (record,) = ledger.read_records(tmp_path, "e")
    assert record.hparams == {"k": 5}
    assert record.by_key == {"val/accuracy": 0.5}


def test_writing_a_record_again_replaces_it(any_storage):
    ledger.write_record(any_storage, changed(status="running"))
    ledger.write_record(any_storage, RECORD)
    assert [record.status for record in ledger.read_records(any_storage, "e")] == ["completed"]


def test_records_are_sorted_by_stage_and_index(any_storage):
    final, features = (
        changed(trial_id="1", stage="final", index=0),
        changed(trial_id="3", stage="features", index=0),
    )
    later = changed(trial_id="2", index=2)
    for record in (final, later, features, RECORD):
        ledger.write_record(any_storage, record)
    assert ledger.read_records(any_storage, "e") == [features, RECORD, later, final]


def test_the_records_of_one_pair_can_be_read(any_storage):
    pair = Pair(backbone="b", task=Task("knn", "digits"))
    mine, other = changed(trial_id=f"{pair.slug}-search-001-0"), changed(trial_id="other")
    for record in (mine, other):
        ledger.write_record(any_storage, record)
    assert ledger.read_records(any_storage, "e", pair=pair) == [mine]


@pytest.mark.parametrize("length", [0, 1, 40, -1])
def test_a_damaged_record_counts_as_missing_and_harms_no_other(tmp_path, length):
    damaged = changed(trial_id="damaged")
    ledger.write_record(tmp_path, RECORD)
    ledger.write_record(tmp_path, damaged)
    file_of(tmp_path, damaged).write_bytes(file_of(tmp_path, damaged).read_bytes()[:length])
    met: list[Path] = []
    assert ledger.read_records(tmp_path, "e", on_damaged=met.append) == [RECORD]
    assert met == [file_of(tmp_path, damaged)]
    with pytest.raises(DamagedResultError, match=r"damaged.json' is damaged.*`raybench run`"):
        ledger.read_records(tmp_path, "e")
    assert ledger.read_record(tmp_path, "e", "damaged") is None
    ledger.write_record(tmp_path, damaged)
    assert len(ledger.read_records(tmp_path, "e")) == 2


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"schema": 1, "status": "completed"}', "\x00\xff"])
def test_foreign_files_are_skipped(tmp_path, content):
    ledger.write_record(tmp_path, RECORD)
    file_of(tmp_path).with_name("foreign.json").write_text(content, encoding="latin-1")
    file_of(tmp_path).with_name(".half.json.partial").write_text("{")
    assert ledger.read_records(tmp_path, "e", on_damaged=ledger.skip_damaged) == [RECORD]


def test_a_record_of_a_later_raybench_counts_as_missing(tmp_path):
    ledger.write_record(tmp_path, RECORD)
    content = json.loads(file_of(tmp_path).read_text())
    file_of(tmp_path).write_text(json.dumps(content | {"schema": 2}))
    assert ledger.read_records(tmp_path, "e", on_damaged=ledger.skip_damaged) == []


def test_unknown_fields_are_ignored(tmp_path):
    ledger.write_record(tmp_path, RECORD)
    content = json.loads(file_of(tmp_path).read_text())
    del content["checksum"]  # Otherwise it counts as damaged.
    file_of(tmp_path).write_text(json.dumps(content | {"mood": "good"}))
    assert ledger.read_records(tmp_path, "e") == [RECORD]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_metric_that_is_not_finite_is_refused(tmp_path, value):
    with pytest.raises(NonFiniteMeasurementError, match="record the trial as failed with a reason"):
        ledger.write_record(tmp_path, changed(values=metric_values({"val/nll": value})))


def test_an_experiment_that_never_ran_has_no_records(any_storage):
    assert ledger.read_records(any_storage, "e") == []
    assert ledger.read_record(any_storage, "e", "t") is None
    assert ledger.load_spec(any_storage, "e") is None
    assert not ledger.has_spec(any_storage, "e")
    assert ledger.experiments(any_storage) == []
    assert ledger.experiments(any_storage / "absent") == []


def test_a_spec_is_read_as_it_was_written(any_storage):
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
def test_a_damaged_spec_is_an_error_so_that_it_is_not_overwritten(tmp_path, content):
    ledger.save_spec(tmp_path, "e", {})
    (tmp_path / "experiments" / "e" / "spec.json").write_text(content)
    with pytest.raises(StorageError, match=r"spec\.json"):
        ledger.load_spec(tmp_path, "e")


def test_the_checkpoint_folder_is_not_created_by_naming_it(tmp_path):
    folder = layout.checkpoint_dir(tmp_path, "e", "t")
    assert folder == tmp_path / "experiments" / "e" / "checkpoints" / "t"
    assert not folder.exists()


def test_a_pinned_backbone_must_keep_its_content(any_storage):
    ledger.pin(any_storage, "e", "backbone", "b", "aaaa")
    ledger.pin(any_storage, "e", "backbone", "b", "aaaa")
    with pytest.raises(
        StorageError,
        match=r"backbone 'b' has changed since experiment 'e' began \(content aaaa then, bbbb now\)",
    ):
        ledger.pin(any_storage, "e", "backbone", "b", "bbbb")
    ledger.pin(any_storage, "e", "dataset", "b", "bbbb")
    ledger.pin(any_storage, "other", "backbone", "b", "bbbb")


def test_a_damaged_pin_is_reported_and_not_taken_for_a_change(tmp_path):
    ledger.pin(tmp_path, "e", "backbone", "b", "aaaa")
    next((tmp_path / "experiments" / "e" / "identities").iterdir()).write_text("{")
    with pytest.raises(StorageError, match="cannot read"):
        ledger.pin(tmp_path, "e", "backbone", "b", "aaaa")


def test_a_spec_that_another_program_has_rewritten_is_refused_until_its_checksum_is_removed(tmp_path):
    ledger.save_spec(tmp_path, "e", {"name": "e", "seeds": [0, 1], "budget": {"wall_seconds": None}})
    path = layout.spec_file(tmp_path, "e")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, indent=2))
    with pytest.raises(StorageError, match=r"rewritten by another program.*remove the key `checksum`"):
        ledger.load_spec(tmp_path, "e")
    del content["checksum"]
    path.write_text(json.dumps(content, indent=2))
    assert ledger.load_spec(tmp_path, "e") == content


def rewrite(path, *, keep_checksum: bool = True) -> None:
    """Format the file as another program would, with or without its checksum."""
    content = json.loads(path.read_text())
    if not keep_checksum:
        del content["checksum"]
    path.write_text(json.dumps(content, indent=2))


def test_a_rewritten_pin_is_refused_until_its_checksum_is_removed(tmp_path):
    ledger.pin(tmp_path, "e", "backbone", "b", "aaaa")
    path = layout.identity_file(tmp_path, "e", "backbone", "b")
    rewrite(path)
    with pytest.raises(StorageError, match="rewritten by another program"):
        ledger.pin(tmp_path, "e", "backbone", "b", "aaaa")
    rewrite(path, keep_checksum=False)
    ledger.pin(tmp_path, "e", "backbone", "b", "aaaa")


def test_rewritten_importances_are_refused_until_their_checksum_is_removed(tmp_path):
    ledger.save_importance(tmp_path, "e", {"pairs": {}})
    path = layout.importance_file(tmp_path, "e")
    rewrite(path)
    with pytest.raises(DamagedResultError, match="rewritten by another program"):
        ledger.load_importance(tmp_path, "e")
    rewrite(path, keep_checksum=False)
    assert ledger.load_importance(tmp_path, "e") == {"pairs": {}}


def test_a_rewritten_record_counts_as_missing_until_its_checksum_is_removed(tmp_path):
    ledger.write_record(tmp_path, RECORD)
    path = layout.trial_file(tmp_path, RECORD.experiment, RECORD.trial_id)
    rewrite(path)
    assert ledger.read_record(tmp_path, RECORD.experiment, RECORD.trial_id) is None
    rewrite(path, keep_checksum=False)
    assert ledger.read_record(tmp_path, RECORD.experiment, RECORD.trial_id) == RECORD


def test_a_key_named_checksum_within_the_content_is_no_checksum(tmp_path):
    content = {"name": "e", "nested": {"checksum": "0" * 32}, "text": '"checksum": "' + "0" * 32 + '"'}
    layout.spec_file(tmp_path, "e").parent.mkdir(parents=True)
    layout.spec_file(tmp_path, "e").write_text(json.dumps(content, indent=2))
    assert ledger.load_spec(tmp_path, "e") == content
