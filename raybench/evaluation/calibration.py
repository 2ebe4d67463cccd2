"""The evaluator `calibration`: does a confidence of 0.8 mean right in 80 of 100 cases?"""

from collections.abc import Mapping

import numpy as np

from raybench.catalog.evaluators.calibration import INFO, CalibrationSettings
from raybench.core.condition import Condition
from raybench.evaluation.outcomes import Evaluation, Finding
from raybench.evaluation.subject import Subject
from raybench.evaluation.temperature import fit_temperature
from raybench.metrics import classification_metrics
from raybench.metrics.calibration import reliability

CLEAN = "clean"
SCALED = "temperature_scaled(fit=val)"
FITTED = "temperature"
"""Metrics that a protocol measures on clean images itself are not measured twice."""

UNBOUNDED = (
    "every one of {} val images is recognised, so the colder the better: the fitted temperature is where the "
    "search ended, and one error on test costs much."
)


def calibration(subject: Subject, settings: CalibrationSettings) -> Evaluation:
    """Calibration metrics on test before and after temperature scaling, from the logits that are there.

    Nothing runs through a backbone. The temperature is fitted on val, which trained no weight.

    Returns:
        Every metric of the evaluator's row under `clean` (but for `nll`, which protocols measure themselves)
        and `temperature_scaled(fit=val)`; the temperature; the curve `reliability`, whose counts are the
        confidence histogram.
    """
    val, test = subject.predictions["val"], subject.predictions["test"]
    temperature = fit_temperature(val.logits, val.targets)
    names = [name for name in INFO.metrics if name != FITTED]
    findings = []
    rows: list[Mapping[str, float | str]] = []
    for condition, logits in ((CLEAN, test.logits), (SCALED, test.logits / np.float32(temperature))):
        wanted = names if condition == SCALED else [name for name in names if name != "nll"]
        values = classification_metrics(logits, test.targets, wanted)
        findings += [
            Finding(
                condition=Condition.parse(condition), metric=name, value=value, num_examples=len(test.targets)
            )
            for name, value in values.items()
        ]
        rows += [{"condition": condition, **row} for row in reliability(logits, test.targets)]
    findings.append(
        Finding(
            condition=Condition.parse(SCALED), metric=FITTED, value=temperature, num_examples=len(val.targets)
        )
    )
    all_right = bool((val.logits.argmax(axis=1) == val.targets).all())
    return Evaluation(
        findings=tuple(findings),
        curves={"reliability": tuple(rows)},
        warnings=(UNBOUNDED.format(len(val.targets)),) if all_right else (),
    )
