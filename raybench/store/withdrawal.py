"""Withdraw a final trial's results, when a longer search has found another winner."""

from raybench.core.errors import StorageError
from raybench.store import layout
from raybench.store.files import StoragePath, glob_sorted, remove


def withdraw_results(storage: StoragePath, experiment: str, trial_id: str) -> None:
    """Delete a final trial's measurements, predictions, classifier, curves and values per query.

    The results of both winners would share one identity in the measurement table.

    Raises:
        StorageError: if a file cannot be deleted.
    """
    measurements = layout.measurements_file(storage, experiment, trial_id)
    files = [
        measurements,
        *glob_sorted(measurements.parent, f"{trial_id}.*.parquet"),
        layout.predictions_file(storage, experiment, trial_id),
        layout.classifier_file(storage, experiment, trial_id),
        *glob_sorted(layout.curves_dir(storage, experiment), f"{trial_id}.*.json"),
        layout.per_query_file(storage, experiment, trial_id),
    ]
    for file in files:
        try:
            remove(file)
        except OSError as error:
            raise StorageError(f"cannot remove {str(file)!r}: {error.strerror or error}.") from error
