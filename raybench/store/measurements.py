"""The measurement table: append, read, validate.

Each final trial writes one Parquet file and each of its evaluators another, so no two writers share a file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from raybench.core.errors import (
    DamagedResultError,
    DuplicateMeasurementError,
    EmptyInputError,
    NonFiniteMeasurementError,
    OutOfBoundsError,
    StorageError,
)
from raybench.core.records import Measurement
from raybench.metrics import METRICS
from raybench.store.files import StoragePath, glob_sorted
from raybench.store.layout import experiments_dir, measurements_dir, measurements_file
from raybench.store.result_files import checksums_of_experiment, checksums_of_trial, require_present
from raybench.store.tables import read_table, read_tables, table_files, write_table

COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("experiment", pl.String(), "name of the spec that asked for it"),
    ("backbone", pl.String(), "catalogue name, `resnet50.a1_in1k`"),
    ("task", pl.String(), "`protocol@dataset`, `linear_probe@cifar10`"),
    ("split", pl.String(), "`val` or `test`"),
    ("condition", pl.String(), "what was done to the images: `clean`, `linf_pgd(eps=8/255)`"),
    ("metric", pl.String(), "registered metric name; direction and bounds are looked up there"),
    ("seed", pl.Int64(), "seed of the final trial"),
    ("value", pl.Float64(), "finite and within the metric's bounds; fractions, not percent"),
    ("num_examples", pl.Int64(), "how many examples the value averages over"),
    ("trial_id", pl.String(), "the trial that measured it, a key into the ledger"),
    ("provenance", pl.String(), "JSON: checkpoint, dataset, preprocessing, versions, device"),
)
"""(name, type, meaning) of every column of the measurement table, identity first."""

SCHEMA = pl.Schema([(name, dtype) for name, dtype, _ in COLUMNS])
IDENTITY = ("experiment", "backbone", "task", "split", "condition", "metric", "seed")
"""Columns that identify a measurement; two values with one identity are an error, never averaged."""


def write_measurements(
    storage: StoragePath,
    experiment: str,
    trial_id: str,
    measurements: Iterable[Measurement],
    provenance: Mapping[str, Any],
    *,
    evaluator: str = "",
) -> dict[str, str]:
    """Write all measurements of one trial, or those of one of its evaluators, atomically.

    Writing them again changes nothing. Returns the file's checksum for the trial's record.

    Raises:
        EmptyInputError: if there are none.
        UnknownNameError: if a metric is not registered.
        OutOfBoundsError: if a value cannot be a value of its metric.
        DuplicateMeasurementError: if two share one identity.
        StorageError: if the storage cannot be written.
    """
    origin = {"trial_id": trial_id, "provenance": json.dumps(provenance, sort_keys=True, default=str)}
    frame = pl.DataFrame([_row(m) | origin for m in measurements], schema=SCHEMA)
    if frame.is_empty():
        raise EmptyInputError(f"trial {trial_id!r} has no measurements to write.")
    for metric in frame["metric"].unique(maintain_order=True):
        METRICS[metric]  # Raises on a name that no reader could look up.
    return write_table(measurements_file(storage, experiment, trial_id, evaluator), validated(frame))


def _row(measurement: Measurement) -> dict[str, Any]:
    task, condition = str(measurement.task), str(measurement.condition)
    return asdict(measurement) | {"task": task, "condition": condition}


def read_measurements(storage: StoragePath, experiment: str | None = None) -> pl.DataFrame:
    """The measurement table of one experiment or of all, sorted by identity; empty if nothing was measured.

    Two runs of the same spec on CPU give equal tables (`DataFrame.equals`).

    Raises:
        NonFiniteMeasurementError, OutOfBoundsError, DuplicateMeasurementError: if a value is invalid.
        DamagedResultError: if a file of a final trial is missing or not as the trial wrote it.
        StorageError: if the storage, the experiment or a file cannot be read.
    """
    try:
        return _read_verified(storage, experiment)
    except DamagedResultError:  # A run may have replaced a file between reading its record and the file.
        return _read_verified(storage, experiment)


def _read_verified(storage: StoragePath, experiment: str | None) -> pl.DataFrame:
    # Records first: what a record names was written before it.
    names = (
        [experiment] if experiment else [path.name for path in glob_sorted(experiments_dir(storage), "*/")]
    )
    checksums: dict[str, str | None] = {}
    for name in names:
        checksums |= checksums_of_experiment(storage, name)
    files = table_files(measurements_dir(storage), experiment)
    require_present(storage, checksums, files)
    known = {name: checksum for name, checksum in checksums.items() if checksum is not None}
    return validated(read_tables(files, SCHEMA, known))


def parse_provenance(text: str) -> dict[str, Any]:
    """The provenance of a measurement.

    Raises:
        StorageError: if it is no JSON object.
    """
    if not is_json_object(text):
        raise StorageError(
            f"the provenance of a measurement is no JSON object: {text[:100]!r}; remove that trial's file "
            "and record, and run it again."
        )
    return dict(json.loads(text))


def is_json_object(text: str) -> bool:
    """Whether the text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def measurements_of(storage: StoragePath, experiment: str, trial_id: str) -> list[dict[str, Any]]:
    """The rows of one trial and its evaluators, columns as COLUMNS; empty if it has none.

    Raises:
        StorageError: if a file cannot be read, or is not as the trial wrote it.
    """
    checksums = checksums_of_trial(storage, experiment, trial_id)
    file = measurements_file(storage, experiment, trial_id)
    files = [file, *glob_sorted(file.parent, f"{trial_id}.*.parquet")] if file.is_file() else []
    frames = [read_table(path, SCHEMA, checksums) for path in files]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *frames]).sort(IDENTITY).to_dicts()


def measured_experiments(storage: StoragePath) -> list[str]:
    """Sorted names of the experiments that have measurements in this storage."""
    return sorted({file.parent.name for file in glob_sorted(measurements_dir(storage), "*/*.parquet")})


def validated(frame: pl.DataFrame) -> pl.DataFrame:
    """Check that values are finite and in bounds and identities unique; return `frame` sorted by identity."""
    value = pl.col("value")
    if (bad := frame.filter(value.is_null() | ~value.is_finite())).height:
        raise NonFiniteMeasurementError(
            f"{bad.height} measurement(s) are not finite, first {_name(bad)} = {bad['value'][0]}; "
            "remove that trial's file and record, and run it again."
        )
    if (bad := frame.join(_bounds(), on="metric").filter(~value.is_between("low", "high"))).height:
        first = bad.row(0, named=True)
        raise OutOfBoundsError(
            f"{bad.height} measurement(s) lie outside their metric's bounds, first {_name(bad)} = "
            f"{first['value']} outside [{first['low']}, {first['high']}]; fractions are stored, not percent."
        )
    frame = frame.sort(IDENTITY, maintain_order=True)
    same_as_previous = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in IDENTITY)
    if (bad := frame.filter(same_as_previous)).height:
        raise DuplicateMeasurementError(
            f"{bad.height} measurement(s) share an identity with another, first {_name(bad)} "
            f"(trial {bad['trial_id'][0]!r}); one of the two trials must go."
        )
    return frame


def _bounds() -> pl.DataFrame:
    rows = [(name, *map(float, METRICS[name].bounds)) for name in METRICS]
    return pl.DataFrame(
        rows, schema={"metric": pl.String, "low": pl.Float64, "high": pl.Float64}, orient="row"
    )


def _name(bad: pl.DataFrame) -> str:
    row = bad.row(0, named=True)
    return f"{row['split']}/{row['metric']} of {row['backbone']!r} on {row['task']!r} (seed {row['seed']})"
