"""Values of a metric that finished trials did not measure, computed from their stored predictions."""

from dataclasses import replace
from typing import Any

import polars as pl

from raybench.metrics import METRICS, ArrayMetric
from raybench.report.gather.criteria import CLEAN, Criterion
from raybench.report.gather.sources import Results
from raybench.store.files import map_concurrently
from raybench.store.measurements import validated


def compute_missing(results: Results, criterion: Criterion) -> Results:
    """Add the criterion's metric for every final trial that lacks it and has stored predictions.

    For a metric that was added after an experiment ran. Nothing is written, and the same call on the result
    adds nothing. A metric that is not a function of logits and targets cannot be computed this way.

    Returns:
        `results` with a row on test (`clean`) per trial, which has the trial's identity, and a note.

    Raises:
        UnknownNameError: if the metric is not registered.
        StorageError: if predictions are there but cannot be read.
        NonFiniteMeasurementError, OutOfBoundsError: if the metric gives a value that it cannot have.
    """
    if criterion.metric is None or criterion.category is not None or criterion.condition not in (None, CLEAN):
        return results
    metric = METRICS[criterion.metric]
    if not isinstance(metric, ArrayMetric) or not results.storages:
        return results
    # Deferred, as it imports numpy: `raybench rank` starts without it.
    from raybench.report.gather.stored_outputs import predictions_on_test

    def compute(row: dict[str, Any]) -> tuple[float, int] | None:
        for storage in results.storages:
            predictions = predictions_on_test(storage, row["experiment"], row["trial_id"])
            if predictions is not None:
                _, targets, logits = predictions
                return metric.compute(logits, targets), len(targets)
        return None

    trials = _trials_without(metric.name, results.measurements)
    rows = trials.to_dicts()
    values = map_concurrently(compute, rows, *results.storages)
    computed = [
        {**row, "metric": metric.name, "value": value[0], "num_examples": value[1]}
        for row, value in zip(rows, values, strict=True)
        if value is not None
    ]
    if not computed:
        return results
    frame = validated(pl.DataFrame(computed, schema=trials.schema))
    note = (
        f"{metric.name} was not measured when {frame.height} of the final trials ran; it is computed from "
        "their stored predictions."
    )
    return replace(
        results, measurements=pl.concat([results.measurements, frame]), notes=(*results.notes, note)
    )


def _trials_without(metric: str, measurements: pl.DataFrame) -> pl.DataFrame:
    """One measurement on clean test images of each final trial that has none of `metric`."""
    identity = ["backbone", "task", "seed"]
    if "source" not in measurements.columns:  # United sources agree on one trial per identity.
        identity.append("experiment")
    on_test = measurements.filter(split="test", condition=CLEAN)
    return on_test.join(on_test.filter(metric=metric), on=identity, how="anti").unique(
        identity, keep="first", maintain_order=True
    )
