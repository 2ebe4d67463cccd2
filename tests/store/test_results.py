"""The measurement table: what goes in, what comes out, what is refused."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from raybench.core.errors import (
    DuplicateMeasurementError,
    EmptyInputError,
    NonFiniteMeasurementError,
    OutOfBoundsError,
    StorageError,
    UnknownNameError,
)
from raybench.core.records import Measurement, Pair
from raybench.store.layout import measurements_file
from raybench.store.measurements import (
    COLUMNS,
    IDENTITY,
    SCHEMA,
    measured_experiments,
    read_measurements,
    validated,
    withdraw_measurements,
    write_measurements,
)
from raybench.store.predictions import (
    PREDICTION_SCHEMA,
    read_predictions,
    write_predictions,
)

MEASUREMENT = Measurement(
    experiment="e",
    backbone="b",
    task="knn@digits",
    split="test",
    metric="accuracy",
    value=0.5,
    num_examples=4,
    seed=0,
)
PROVENANCE = {"device": "cpu", "preprocessing": {"mean": (0.5, 0.5, 0.5)}}


def changed(**changes) -> Measurement:
    return dataclasses.replace(MEASUREMENT, **changes)


def write(storage: Path, trial_id: str, *measurements: Measurement) -> None:
    write_measurements(storage, "e", trial_id, measurements, PROVENANCE)


def table(**columns) -> pl.DataFrame:
    """One row as it stands in the table, with changes."""
    row = dataclasses.asdict(MEASUREMENT) | {"trial_id": "t", "provenance": "{}"} | columns
    return pl.DataFrame([row], schema=SCHEMA)


def test_a_measurement_comes_back_with_its_whole_identity(any_storage):
    write(any_storage, "t", MEASUREMENT)
    (row,) = read_measurements(any_storage, "e").to_dicts()
    assert json.loads(row.pop("provenance")) == {"device": "cpu", "preprocessing": {"mean": [0.5, 0.5, 0.5]}}
    assert row == dataclasses.asdict(MEASUREMENT) | {"trial_id": "t"}


def test_identity_is_every_field_that_says_which_number_it_is():
    fields = {field.name for field in dataclasses.fields(Measurement)}
    assert set(IDENTITY) == fields - {"value", "num_examples"}
    assert set(SCHEMA) == fields | {"trial_id", "provenance"}
    assert all(meaning for _, _, meaning in COLUMNS)


def test_the_table_does_not_depend_on_who_wrote_first(any_storage):
    rows = [changed(seed=seed, backbone=b) for seed in (1, 0) for b in ("b", "a")]
    for position, row in enumerate(rows):
        write(any_storage / "forth", f"t{rows.index(row)}", row)
        write(any_storage / "back", f"t{len(rows) - 1 - position}", rows[len(rows) - 1 - position])
    assert read_measurements(any_storage / "forth").equals(read_measurements(any_storage / "back"))
    assert read_measurements(any_storage / "forth")["backbone"].to_list() == ["a", "a", "b", "b"]


def test_writing_again_changes_nothing(any_storage):
    write(any_storage, "t", MEASUREMENT)
    before = read_measurements(any_storage)
    write(any_storage, "t", MEASUREMENT)
    assert read_measurements(any_storage).equals(before)


def test_experiments_are_read_together_or_apart(any_storage):
    write_measurements(any_storage, "e", "t", [MEASUREMENT], {})
    write_measurements(any_storage, "f", "t", [changed(experiment="f")], {})
    assert read_measurements(any_storage)["experiment"].to_list() == ["e", "f"]
    assert read_measurements(any_storage, "f")["experiment"].to_list() == ["f"]
    assert read_measurements(any_storage, "*").is_empty()
    assert measured_experiments(any_storage) == ["e", "f"]


def test_a_storage_without_measurements_is_an_empty_table(tmp_path):
    assert read_measurements(tmp_path).schema == SCHEMA
    assert read_predictions(tmp_path).schema == PREDICTION_SCHEMA


def test_no_storage_is_an_error(tmp_path):
    with pytest.raises(StorageError, match=r"no storage at '.*absent'"):
        read_measurements(tmp_path / "absent")


def test_what_a_killed_writer_leaves_is_not_read(tmp_path):
    write(tmp_path, "t", MEASUREMENT)
    (tmp_path / "measurements" / "e" / ".t.parquet.x.partial").write_bytes(b"PAR1 half")
    assert read_measurements(tmp_path).height == 1


def test_nan_is_refused_before_it_can_be_written(tmp_path):
    with pytest.raises(NonFiniteMeasurementError, match="polars ranks NaN above every number"):
        write(tmp_path, "t", changed(value=float("nan")))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_nan_that_another_program_wrote_is_refused_when_read(value):
    # The trap: polars ranks NaN above every number, so a diverged backbone would win.
    with pytest.raises(NonFiniteMeasurementError, match="test/accuracy of 'b' on 'knn@digits' "):
        validated(table(value=value))


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 50.0), ("accuracy", -0.01), ("nll", -1.0)])
def test_a_value_its_metric_cannot_have_is_refused(tmp_path, metric, value):
    with pytest.raises(OutOfBoundsError, match=f"test/{metric} of 'b'.* = {value} outside"):
        write(tmp_path, "t", changed(metric=metric, value=value))


@pytest.mark.parametrize(
    ("metric", "value"), [("accuracy", 0.0), ("accuracy", 1.0), ("nll", 0.0), ("nll", 1e6)]
)
def test_bounds_themselves_are_values(tmp_path, metric, value):
    write(tmp_path, "t", changed(metric=metric, value=value))
    assert read_measurements(tmp_path)["value"].to_list() == [value]


def test_an_unregistered_metric_is_refused_with_a_suggestion(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        write(tmp_path, "t", changed(metric="acuracy"))


def test_a_metric_of_a_later_raybench_is_read_all_the_same():
    assert validated(table(metric="of_tomorrow", value=7.0)).height == 1


def test_no_measurements_are_refused(tmp_path):
    with pytest.raises(EmptyInputError, match="trial 't' has no measurements"):
        write(tmp_path, "t")


@pytest.mark.parametrize("value", [0.5, 0.75])
def test_two_trials_with_one_identity_are_refused_even_if_they_agree(any_storage, value):
    write(any_storage, "one", MEASUREMENT)
    write(any_storage, "two", changed(value=value))
    with pytest.raises(DuplicateMeasurementError, match="share an identity"):
        read_measurements(any_storage)


@pytest.mark.parametrize("field", [field for field in IDENTITY if field != "seed"])
def test_each_part_of_the_identity_tells_two_measurements_apart(tmp_path, field):
    write(tmp_path, "t", MEASUREMENT, changed(**{field: "nll" if field == "metric" else "another"}))
    assert read_measurements(tmp_path).height == 2


def test_withdrawn_results_make_room_for_another_winners(any_storage):
    write(any_storage, "one", MEASUREMENT)
    withdraw_measurements(any_storage, "e", "one")
    withdraw_measurements(any_storage, "e", "one")
    write(any_storage, "two", MEASUREMENT)
    assert read_measurements(any_storage)["trial_id"].to_list() == ["two"]


def test_a_file_that_is_not_parquet_is_named(tmp_path):
    write(tmp_path, "t", MEASUREMENT)
    (tmp_path / "measurements" / "e" / "bad.parquet").write_bytes(b"nonsense")
    with pytest.raises(StorageError, match=r"cannot read '.*bad\.parquet'"):
        read_measurements(tmp_path)


def test_a_file_without_a_column_is_named_among_sound_ones(tmp_path):
    write(tmp_path, "t", MEASUREMENT)
    file = measurements_file(tmp_path, "e", "narrow")
    table().drop("value").write_parquet(file, metadata={"raybench.schema": "1"})
    with pytest.raises(StorageError, match=r"cannot read '.*narrow\.parquet'"):
        read_measurements(tmp_path)


def test_a_file_whose_content_is_lost_is_named(tmp_path):
    write(tmp_path, "t", MEASUREMENT)
    file = measurements_file(tmp_path, "e", "t")
    file.write_bytes(b"\0" * 100 + file.read_bytes()[100:])
    with pytest.raises(StorageError, match=r"cannot read '.*t\.parquet'"):
        read_measurements(tmp_path)


@pytest.mark.parametrize(
    ("version", "advice"), [("2", "upgrade raybench"), (None, "was not written by raybench")]
)
def test_a_table_of_another_version_is_not_guessed_at(tmp_path, version, advice):
    file = measurements_file(tmp_path, "e", "t")
    file.parent.mkdir(parents=True)
    table().write_parquet(file, metadata={} if version is None else {"raybench.schema": version})
    with pytest.raises(StorageError, match=advice):
        read_measurements(tmp_path)


def test_an_unwritable_storage_is_a_storage_error(tmp_path):
    (tmp_path / "measurements").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        write(tmp_path, "t", MEASUREMENT)


PREDICTIONS = SimpleNamespace(
    ids=("y", "x"), targets=np.array([1, 0]), logits=np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
)


def test_predictions_come_back_example_by_example(any_storage):
    pair = Pair(backbone="b", task="knn@digits")
    write_predictions(any_storage, "e", "t", {"test": PREDICTIONS}, pair=pair, seed=3)
    frame = read_predictions(any_storage, "e")
    assert frame.schema == PREDICTION_SCHEMA
    assert frame.select("backbone", "task", "split", "seed", "trial_id", "example_id", "target").rows() == [
        ("b", "knn@digits", "test", 3, "t", "x", 0),
        ("b", "knn@digits", "test", 3, "t", "y", 1),
    ]
    assert frame["logits"].to_list() == [[1.0, 2.0, 3.0], np.float32([0.1, 0.2, 0.3]).tolist()]


def test_tasks_with_different_numbers_of_classes_share_one_table(tmp_path):
    for task, num_classes in (("knn@a", 2), ("knn@b", 5)):
        predictions = SimpleNamespace(ids=("x",), targets=np.array([0]), logits=np.zeros((1, num_classes)))
        pair = Pair(backbone="b", task=task)
        write_predictions(tmp_path, "e", task, {"test": predictions}, pair=pair, seed=0)
    assert read_predictions(tmp_path)["logits"].list.len().to_list() == [2, 5]
