"""The waist: the measurement table and the per-example predictions. Append, read, validate.

Everything on one side of this file makes rows, everything on the other reads them. Each final trial writes
one Parquet file of its own, so writers never meet; reading glues the files together and checks what they say.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from raybench.errors import (
    DuplicateMeasurementError,
    EmptyInputError,
    NonFiniteMeasurementError,
    OutOfBoundsError,
    StorageError,
)
from raybench.metrics import METRICS
from raybench.records import Measurement, Pair, Split
from raybench.storage import Place, each, fetched, matches, remove, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA_VERSION = 1
"""Raised when a column changes its meaning. Stands in every file's metadata as `raybench.schema`."""

_VERSION_KEY = "raybench.schema"

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
"""What tells two measurements apart; a second value of the same identity is an error, never averaged."""

PREDICTION_SCHEMA = pl.Schema(
    {
        "experiment": pl.String(),
        "backbone": pl.String(),
        "task": pl.String(),
        "split": pl.String(),
        "seed": pl.Int64(),
        "trial_id": pl.String(),
        "example_id": pl.String(),
        "target": pl.Int64(),
        "logits": pl.List(pl.Float32),
    }
)


class PredictionsOfSplit(Protocol):
    """What the fitted classifier says about n examples; `evaluation.context.Predictions` is one."""

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def targets(self) -> "NDArray[Any]": ...
    @property
    def logits(self) -> "NDArray[Any]": ...


def measurements_file(storage: Place, experiment: str, trial_id: str, part: str = "") -> Place:
    """`part` names what is written apart from the trial's own metrics: an evaluator."""
    return storage / "measurements" / experiment / f"{trial_id}{'.' if part else ''}{part}.parquet"


def predictions_file(storage: Place, experiment: str, trial_id: str) -> Place:
    return storage / "predictions" / experiment / f"{trial_id}.parquet"


def write_measurements(
    storage: Place,
    experiment: str,
    trial_id: str,
    measurements: Iterable[Measurement],
    provenance: Mapping[str, Any],
    *,
    part: str = "",
) -> None:
    """Write all measurements of one trial, or those of one of its evaluators (`part`), whole or not at all.

    Writing them again changes nothing.

    Raises:
        EmptyInputError: if there are none.
        UnknownNameError: if a metric is not registered.
        OutOfBoundsError: if a value cannot be a value of its metric.
        DuplicateMeasurementError: if two share one identity.
        StorageError: if the storage cannot be written.
    """
    origin = {"trial_id": trial_id, "provenance": json.dumps(provenance, sort_keys=True, default=str)}
    frame = pl.DataFrame([asdict(m) | origin for m in measurements], schema=SCHEMA)
    if frame.is_empty():
        raise EmptyInputError(f"trial {trial_id!r} has no measurements to write.")
    for metric in frame["metric"].unique(maintain_order=True):
        METRICS[metric]  # Raises on a name that no reader could look up.
    _write(measurements_file(storage, experiment, trial_id, part), validated(frame))


def read_measurements(storage: Place, experiment: str | None = None) -> pl.DataFrame:
    """The measurement table of one experiment or of all, sorted by identity; empty if nothing was measured.

    Two runs of the same spec on CPU give equal tables (`DataFrame.equals`).

    Raises:
        NonFiniteMeasurementError, OutOfBoundsError, DuplicateMeasurementError: if the table is not sound.
        StorageError: if the storage, the experiment or a file cannot be read.
    """
    return validated(_read(storage / "measurements", experiment, SCHEMA))


def measurements_of(storage: Place, experiment: str, trial_id: str) -> list[dict[str, Any]]:
    """The rows of one trial and its evaluators, columns as COLUMNS; empty if it has none.

    Raises:
        StorageError: if a file cannot be read.
    """
    own = measurements_file(storage, experiment, trial_id)
    files = [own, *matches(own.parent, f"{trial_id}.*.parquet")] if own.is_file() else []
    frames = [_read_file(file, SCHEMA) for file in files]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *frames]).sort(IDENTITY).to_dicts()


def measured_experiments(storage: Place) -> list[str]:
    """Names of the experiments that measured something on this storage, sorted."""
    return sorted({file.parent.name for file in matches(storage / "measurements", "*/*.parquet")})


def write_predictions(
    storage: Place,
    experiment: str,
    trial_id: str,
    predictions: Mapping[Split, PredictionsOfSplit],
    *,
    pair: Pair,
    seed: int,
) -> None:
    """Write one row per example of each split: its id, target and logits [c], under the trial's identity.

    Raises:
        StorageError: if the storage cannot be written.
    """
    identity = {"experiment": experiment, "backbone": pair.backbone, "task": pair.task}
    origin = identity | {"seed": seed, "trial_id": trial_id}
    frames = []
    for split, found in predictions.items():
        logits = pl.Series("logits", found.logits.astype("float32")).arr.to_list()
        frame = pl.DataFrame({"example_id": found.ids, "target": found.targets, "logits": logits})
        columns = [pl.lit(value).alias(name) for name, value in (origin | {"split": split}).items()]
        frames.append(frame.with_columns(columns).select(PREDICTION_SCHEMA.names()).cast(PREDICTION_SCHEMA))
    _write(predictions_file(storage, experiment, trial_id), pl.concat(frames))


def predictions_of(
    storage: Place, experiment: str, trial_id: str
) -> dict[Split, "tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]"]:
    """Split → (ids, targets [n], logits [n, c]) of one trial, in the order they were written.

    Raises:
        StorageError: if they are not there or cannot be read.
    """
    frame = _read_file(predictions_file(storage, experiment, trial_id), PREDICTION_SCHEMA)
    found: dict[Split, tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]] = {}
    for split in frame["split"].unique(maintain_order=True):
        rows = frame.filter(split=split)
        logits = rows["logits"].list.to_array(rows["logits"].list.len()[0]).to_numpy()
        found[split] = (tuple(rows["example_id"]), rows["target"].to_numpy(), logits)
    return found


def read_predictions(storage: Place, experiment: str | None = None) -> pl.DataFrame:
    """Per-example predictions, columns as in PREDICTION_SCHEMA, sorted by pair, split, seed and example.

    Raises:
        StorageError: if the storage, the experiment or a file cannot be read.
    """
    frame = _read(storage / "predictions", experiment, PREDICTION_SCHEMA)
    return frame.sort("experiment", "backbone", "task", "split", "seed", "example_id", maintain_order=True)


def withdraw(storage: Place, experiment: str, trial_id: str) -> None:
    """Remove a final trial's measurements and predictions, as when a longer search finds another winner.

    Without this the old and the new winner would claim the same identity.
    """
    files = [
        measurements_file(storage, experiment, trial_id),
        predictions_file(storage, experiment, trial_id),
        *matches(storage / "measurements" / experiment, f"{trial_id}.*.parquet"),
    ]
    try:
        for file in files:
            remove(file)
    except OSError as error:
        raise StorageError(f"cannot remove results of {trial_id!r}: {error.strerror or error}.") from error


def validated(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` sorted by identity, if every value is finite and in bounds and every identity unique."""
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


def _write(path: Place, frame: pl.DataFrame) -> None:
    metadata = {_VERSION_KEY: str(SCHEMA_VERSION)}
    write_whole(path, lambda file: frame.write_parquet(file, metadata=metadata))


def _read(folder: Place, experiment: str | None, schema: pl.Schema) -> pl.DataFrame:
    if not folder.parent.is_dir():
        raise StorageError(
            f"no storage at {str(folder.parent)!r}; give the folder that `raybench run` named."
        )
    # An experiment's name is no pattern.
    among = (folder, "*/*.parquet") if experiment is None else (folder / experiment, "*.parquet")
    files = matches(*among)
    sources: list[Any] = each(fetched, files, folder)
    for file, source in zip(files, sources, strict=True):
        _require_version(file, source)
    try:  # All at once: file by file takes eight times as long.
        frames = [pl.read_parquet(sources, glob=False).select(schema.names())] if files else []
    except (OSError, pl.exceptions.PolarsError):
        frames = [_read_file(file, schema) for file in files]
    return pl.concat([pl.DataFrame(schema=schema), *(frame.cast(schema) for frame in frames)])


def _require_version(file: Place, source: Path | BytesIO) -> None:
    try:
        version = int(pl.read_parquet_metadata(source).get(_VERSION_KEY, "0"))
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise _unreadable(file, error) from error
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"{str(file)!r} has table version {version}, this raybench reads version {SCHEMA_VERSION}; "
            f"{'upgrade raybench' if version > SCHEMA_VERSION else 'it was not written by raybench'}."
        )


def _read_file(file: Place, schema: pl.Schema) -> pl.DataFrame:
    """One file alone, so that the error can name it."""
    try:
        return pl.read_parquet(fetched(file), glob=False).select(schema.names())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Place, error: Exception) -> StorageError:
    return StorageError(
        f"cannot read {str(file)!r}: {str(error).partition(chr(10))[0]}; "
        "remove it and its trial's record, and run again."
    )
