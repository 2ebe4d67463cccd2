"""Stored outputs of final trials on test: predictions, and the statistics that the bootstrap resamples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raybench.metrics import METRICS, ArrayMetric
from raybench.metrics.resampling import NotResampled, PerExampleMean, Statistic, all_means
from raybench.store.artifacts import per_query_of
from raybench.store.files import StoragePath, map_concurrently
from raybench.store.layout import predictions_file
from raybench.store.predictions import predictions_of
from raybench.store.result_files import checksums_of_trial, was_written


def stored_statistics(
    rows: pl.DataFrame, backbones: Sequence[str], storages: Sequence[StoragePath]
) -> list[list[Statistic]] | None:
    """One statistic per backbone and seed, from what final trials stored about the test examples.

    None unless the metric is resampled, every trial stored the same examples, and each statistic has the
    measured value.

    Args:
        rows: measurements of one task by one metric on test, one per backbone and seed.
        backbones: all names in `rows`, in the order of the result.
        storages: searched in turn.

    Raises:
        StorageError: if stored outputs cannot be read.
    """

    def read(row: dict[str, Any]) -> tuple[tuple[str, ...], Statistic] | None:
        return _statistic_of(row, storages)

    by_backbone: dict[str, list[Statistic]] = {name: [] for name in backbones}
    common_ids: tuple[str, ...] | None = None
    ordered = rows.sort("backbone", "seed").to_dicts()
    for row, stored in zip(ordered, map_concurrently(read, ordered, *storages), strict=True):
        if stored is None or not _has_value(stored[1], row["value"]):
            return None
        ids, statistic = stored
        common_ids = ids if common_ids is None else common_ids
        if ids != common_ids:
            return None
        by_backbone[row["backbone"]].append(statistic)
    return _on_common_examples(list(by_backbone.values()))


def predictions_on_test(
    storage: StoragePath, experiment: str, trial_id: str
) -> tuple[tuple[str, ...], NDArray[Any], NDArray[Any]] | None:
    """Example ids, targets [n] and logits [n, c] in the order they were written; None if none are stored.

    Raises:
        StorageError: if the file cannot be read, or is not as the trial wrote it.
    """
    checksums = checksums_of_trial(storage, experiment, trial_id)
    if not was_written(predictions_file(storage, experiment, trial_id), checksums):
        return None
    return predictions_of(storage, experiment, trial_id).get("test")


def _statistic_of(
    row: dict[str, Any], storages: Sequence[StoragePath]
) -> tuple[tuple[str, ...], Statistic] | None:
    """Example ids in order, and the metric's statistic of these examples; None if it is not available."""
    metric, trial = METRICS[row["metric"]], (row["experiment"], row["trial_id"])
    if isinstance(metric.resampling, NotResampled):
        return None
    for storage in storages:
        if isinstance(metric, ArrayMetric):
            predictions = predictions_on_test(storage, *trial)
            if predictions is not None:
                ids, targets, logits = predictions
                order = np.argsort(np.array(ids))
                return tuple(ids[i] for i in order), metric.resampling(logits[order], targets[order])
        else:
            values = per_query_of(storage, *trial, "test", metric.name)
            if values is not None:
                return tuple(map(str, range(len(values)))), metric.resampling(values)
    return None


def _has_value(statistic: Statistic, value: float) -> bool:
    """Whether the statistic of all its examples is the measured value."""
    (defined,) = _on_common_examples([[statistic]]) or [[statistic]]
    value_of_all = defined[0].at(np.ones((1, defined[0].num_examples)))[0]
    return bool(np.isclose(value_of_all, value, atol=1e-6))


def _on_common_examples(statistics: list[list[Statistic]]) -> list[list[Statistic]] | None:
    """Drop examples without a value (queries without positives) from means; None if none are left."""
    means = all_means(statistics)
    if means is None:
        return statistics
    is_defined = np.isfinite([mean.values for seeds in means for mean in seeds]).all(axis=0)
    if not is_defined.any():
        return None
    return [[PerExampleMean(mean.values[is_defined]) for mean in seeds] for seeds in means]
