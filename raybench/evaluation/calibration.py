"""The evaluator `calibration`: agreement of confidence and accuracy, before and after temperature scaling."""

from collections.abc import Mapping

import numpy as np

from raybench.catalog.evaluators.calibration import INFO, CalibrationSettings
from raybench.core.condition import CLEAN, Condition
from raybench.evaluation.fitted_classifier import FittedClassifier
from raybench.evaluation.outcomes import Evaluation, MetricResult
from raybench.evaluation.temperature import fit_temperature
from raybench.metrics import classification_metrics
from raybench.metrics.calibration import reliability

SCALED = Condition("temperature_scaled", settings=(("fit", "val"),))
TEMPERATURE = "temperature"
ALL_CORRECT = (
    "all {} val images are classified correctly, so the NLL falls with the temperature: the fitted one is "
    "the end of the search range, and a single error on test costs much."
)


def calibration(fitted: FittedClassifier, settings: CalibrationSettings) -> Evaluation:
    """Calibration metrics on test before and after temperature scaling, from the predictions alone.

    The temperature is fitted on val, on which no weight was trained.

    Returns:
        Every metric of the evaluator's row under `clean` (except `nll`, which protocols measure themselves)
        and `temperature_scaled(fit=val)`; the temperature; the curve `reliability`, whose counts are the
        confidence histogram.
    """
    val, test = fitted.predictions["val"], fitted.predictions["test"]
    temperature = fit_temperature(val.logits, val.targets)
    names = [name for name in INFO.metrics if name != TEMPERATURE]
    clean_names = [name for name in names if name != "nll"]
    results = []
    rows: list[Mapping[str, float | str]] = []
    for condition, logits, metrics in (
        (CLEAN, test.logits, clean_names),
        (SCALED, test.logits / np.float32(temperature), names),
    ):
        results += [
            MetricResult(condition=condition, metric=name, value=value, num_examples=len(test.targets))
            for name, value in classification_metrics(logits, test.targets, metrics).items()
        ]
        rows += [{"condition": str(condition), **row} for row in reliability(logits, test.targets)]
    num_val = len(val.targets)
    results.append(
        MetricResult(condition=SCALED, metric=TEMPERATURE, value=temperature, num_examples=num_val)
    )
    is_all_correct = bool((val.logits.argmax(axis=1) == val.targets).all())
    return Evaluation(
        results=tuple(results),
        curves={"reliability": tuple(rows)},
        warnings=(ALL_CORRECT.format(num_val),) if is_all_correct else (),
    )
