"""Per-example predictions of final trials: id, target and logits of every val and test example."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from raybench.core.records import Pair, Split
from raybench.store.files import StoragePath
from raybench.store.layout import predictions_file
from raybench.store.result_files import checksums_of_trial
from raybench.store.tables import read_table, write_table

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
    """Ids [n], targets [n] and logits [n, c] of a split; `evaluation.outcomes.Predictions` is one."""

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
) -> dict[str, str]:
    """Write one row per example of each split: its id, target and logits [c], under the trial's identity.

    Returns the file's checksum for the trial's record.

    Raises:
        StorageError: if the storage cannot be written.
    """
    identity = {"experiment": experiment, "backbone": pair.backbone, "task": str(pair.task)}
    origin = identity | {"seed": seed, "trial_id": trial_id}
    frames = []
    for split, examples in predictions.items():
        logits = pl.Series("logits", examples.logits.astype("float32")).arr.to_list()
        frame = pl.DataFrame({"example_id": examples.ids, "target": examples.targets, "logits": logits})
        columns = [pl.lit(value).alias(name) for name, value in (origin | {"split": split}).items()]
        frames.append(frame.with_columns(columns).select(PREDICTION_SCHEMA.names()).cast(PREDICTION_SCHEMA))
    return write_table(predictions_file(storage, experiment, trial_id), pl.concat(frames))


def predictions_of(
    storage: StoragePath, experiment: str, trial_id: str
) -> dict[Split, "tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]"]:
    """Split → (ids, targets [n], logits [n, c]) of one trial, in the order they were written.

    Raises:
        StorageError: if they are missing, cannot be read, or are not as the trial wrote them.
    """
    checksums = checksums_of_trial(storage, experiment, trial_id)
    frame = read_table(predictions_file(storage, experiment, trial_id), PREDICTION_SCHEMA, checksums)
    by_split: dict[Split, tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]] = {}
    for split in frame["split"].unique(maintain_order=True):
        rows = frame.filter(split=split)
        logits = rows["logits"].list.to_array(rows["logits"].list.len()[0]).to_numpy()
        by_split[split] = (tuple(rows["example_id"]), rows["target"].to_numpy(), logits)
    return by_split
