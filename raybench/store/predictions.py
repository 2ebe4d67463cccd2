"""Per-example predictions of final trials: id, target and logits of every val and test example."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from raybench.core.records import Pair, Split
from raybench.store.files import StoragePath
from raybench.store.layout import predictions_dir, predictions_file
from raybench.store.tables import read_table, read_tables, remove_tables, write_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    """What the fitted classifier says about n examples; `evaluation.outcomes.Predictions` is one."""

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def targets(self) -> "NDArray[Any]": ...
    @property
    def logits(self) -> "NDArray[Any]": ...


def write_predictions(
    storage: StoragePath,
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
    write_table(predictions_file(storage, experiment, trial_id), pl.concat(frames))


def predictions_of(
    storage: StoragePath, experiment: str, trial_id: str
) -> dict[Split, "tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]"]:
    """Split → (ids, targets [n], logits [n, c]) of one trial, in the order they were written.

    Raises:
        StorageError: if they are not there or cannot be read.
    """
    frame = read_table(predictions_file(storage, experiment, trial_id), PREDICTION_SCHEMA)
    found: dict[Split, tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]] = {}
    for split in frame["split"].unique(maintain_order=True):
        rows = frame.filter(split=split)
        logits = rows["logits"].list.to_array(rows["logits"].list.len()[0]).to_numpy()
        found[split] = (tuple(rows["example_id"]), rows["target"].to_numpy(), logits)
    return found


def read_predictions(storage: StoragePath, experiment: str | None = None) -> pl.DataFrame:
    """Per-example predictions, columns as in PREDICTION_SCHEMA, sorted by pair, split, seed and example.

    Raises:
        StorageError: if the storage, the experiment or a file cannot be read.
    """
    frame = read_tables(predictions_dir(storage), experiment, PREDICTION_SCHEMA)
    return frame.sort("experiment", "backbone", "task", "split", "seed", "example_id", maintain_order=True)


def withdraw_predictions(storage: StoragePath, experiment: str, trial_id: str) -> None:
    """Remove a final trial's predictions.

    Raises:
        StorageError: if the file cannot be removed.
    """
    remove_tables([predictions_file(storage, experiment, trial_id)], trial_id)
