"""The measurement table: what is written and read, and which values are refused."""

import dataclasses
import json
from pathlib import Path

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
from raybench.core.records import Measurement, Task
from raybench.store.layout import measurements_file
from raybench.store.measurements import (
    COLUMNS,
    IDENTITY,
    SCHEMA,
    measured_experiments,
    read_measurements,
    validated,
    write_measurements,
)

MEASUREMENT = Measurement(
    experiment="e",
    backbone="b",
    task=Task.parse("knn@digits"),
    split="test",
    metric="accuracy",
    value=0.5,
    num_examples=4,
    seed=0,
)
ROW = dataclasses.asdict(MEASUREMENT) | {"task": "knn@digits", "condition": str(MEASUREMENT.condition)}
PROVENANCE = {"device": "cpu", "preprocessing": {"mean": (0.5, 0.5, 0.5)}}


def changed(**changes) -> Measurement:
    return dataclasses.replace(MEASUREMENT, **changes)


def write(storage: Path, trial_id: str, *measurements: Measurement) -> None:
    write_measurements(storage, "e", trial_id, measurements, PROVENANCE)


def table(**columns) -> pl.DataFrame:
    """A table of one row, with changes."""
    row = ROW | {"trial_id": "t", "provenance": "{}"} | columns
    return pl.DataFrame([row], schema=SCHEMA)


def test_a_measurement_is_read_as_it_was_written(any_storage):
    write(any_storage, "t", MEASUREMENT)
    (row,) = read_measurements(any_storage, "e").to_dicts()
    assert json.loads(row.pop("provenance")) == {"device": "cpu", "preprocessing": {"mean": [0.5, 0.5, 0.5]}}
    assert row == ROW | {"trial_id": "t"}


def test_identity_is_every_field_but_the_value_and_its_count():
    fields = {field.name for field in dataclasses.fields(Measurement)}
    assert set(IDENTITY) == fields - {"value", "num_examples"}
    assert set(SCHEMA) == fields | {"trial_id", "provenance"}
    assert all(meaning for _, _, meaning in COLUMNS)


def test_the_table_does_not_depend_on_the_order_of_writes(any_storage):
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


def test_one_experiment_or_all_can_be_read(any_storage):
    write_measurements(any_storage, "e", "t", [MEASUREMENT], {})
    write_measurements(any_storage, "f", "t", [changed(experiment="f")], {})
    assert read_measurements(any_storage)["experiment"].to_list() == ["e", "f"]
    assert read_measurements(any_storage, "f")["experiment"].to_list() == ["f"]
    assert read_measurements(any_storage, "*").is_empty()
    assert measured_experiments(any_storage) == ["e", "f"]


def test_a_storage_without_measurements_is_an_empty_table(tmp_path):
    assert read_measurements(tmp_path).schema == SCHEMA


def test_a_missing_storage_is_an_error(tmp_path):
    with pytest.raises(StorageError, match=r"no storage at '.*absent'"):
        read_measurements(tmp_path / "absent")


def test_the_temporary_file_of_a_killed_writer_is_not_read(tmp_path):
    write(tmp_path, "t", MEASUREMENT)
    (tmp_path / "measurements" / "e" / ".t.parquet.x.partial").write_bytes(b"PAR1 half")
    assert read_measurements(tmp_path).height == 1


def test_nan_is_refused_when_written(tmp_path):
    with pytest.raises(NonFiniteMeasurementError, match="polars ranks NaN above every number"):
        write(tmp_path, "t", changed(value=float("nan")))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_nan_written_by_another_program_is_refused_when_read(value):
    # Polars ranks NaN above every number, so a diverged backbone would win.
    with pytest.raises(NonFiniteMeasurementError, match="test/accuracy of 'b' on 'knn@digits' "):
        validated(table(value=value))


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 50.0), ("accuracy", -0.01), ("nll", -1.0)])
def test_a_value_outside_its_metrics_bounds_is_refused(tmp_path, metric, value):
    with pytest.raises(OutOfBoundsError, match=f"test/{metric} of 'b'.* = {value} outside"):
        write(tmp_path, "t", changed(metric=metric, value=value))


@pytest.mark.parametrize(
    ("metric", "value"), [("accuracy", 0.0), ("accuracy", 1.0), ("nll", 0.0), ("nll", 1e6)]
)
def test_the_bounds_themselves_are_accepted(tmp_path, metric, value):
    write(tmp_path, "t", changed(metric=metric, value=value))
    assert read_measurements(tmp_path)["value"].to_list() == [value]


def test_an_unregistered_metric_is_refused_with_a_suggestion(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        write(tmp_path, "t", changed(metric="acuracy"))


def test_a_metric_that_this_version_does_not_know_is_read():
    assert validated(table(metric="of_tomorrow", value=7.0)).height == 1


def test_writing_no_measurements_is_refused(tmp_path):
    with pytest.raises(EmptyInputError, match="trial 't' has no measurements"):
        write(tmp_path, "t")


@pytest.mark.parametrize("value", [0.5, 0.75])
def test_two_trials_with_one_identity_are_refused_even_if_their_values_agree(any_storage, value):
    write(any_storage, "one", MEASUREMENT)
    write(any_storage, "two", changed(value=value))
    with pytest.raises(DuplicateMeasurementError, match="share an identity"):
        read_measurements(any_storage)


@pytest.mark.parametrize("field", [field for field in IDENTITY if field != "seed"])
def test_each_part_of_the_identity_tells_two_measurements_apart(tmp_path, field):
    write(tmp_path, "t", MEASUREMENT, changed(**{field: "nll" if field == "metric" else "another"}))
    assert read_measurements(tmp_path).height == 2


def test_a_file_that_is_not_parquet_is_named(tmp_path):
    write(tmp_path, "t", MEASUREMENT)
    (tmp_path / "measurements" / "e" / "bad.parquet").write_bytes(b"nonsense")
    with pytest.raises(StorageError, match=r"cannot read '.*bad\.parquet'"):
        read_measurements(tmp_path)


def test_a_file_without_a_column_is_named_among_valid_ones(tmp_path):
    write(tmp_path, "t", MEASUREMENT)
    file = measurements_file(tmp_path, "e", "narrow")
    table().drop("value").write_parquet(file, metadata={"raybench.schema": "1"})
    with pytest.raises(StorageError, match=r"cannot read '.*narrow\.parquet'"):
        read_measurements(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    write(tmp_path, "t", MEASUREMENT)
    file = measurements_file(tmp_path, "e", "t")
    file.write_bytes(b"\0" * 100 + file.read_bytes()[100:])
    with pytest.raises(StorageError, match=r"cannot read '.*t\.parquet'"):
        read_measurements(tmp_path)


@pytest.mark.parametrize(
    ("version", "advice"), [("2", "upgrade raybench"), (None, "was not written by raybench")]
)
def test_a_table_of_another_version_is_refused(tmp_path, version, advice):
    file = measurements_file(tmp_path, "e", "t")
    file.parent.mkdir(parents=True)
    table().write_parquet(file, metadata={} if version is None else {"raybench.schema": version})
    with pytest.raises(StorageError, match=advice):
        read_measurements(tmp_path)


def test_an_unwritable_storage_is_a_storage_error(tmp_path):
    (tmp_path / "measurements").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        write(tmp_path, "t", MEASUREMENT)
