"""The evaluator `calibration`: does a confidence of 0.8 mean right in 80 of 100 cases?"""

from raybench.catalog.evaluators.calibration import INFO, CalibrationSettings
from raybench.evaluation.context import Evaluation, Finding
from raybench.evaluation.subject import Subject
from raybench.metrics import classification_metrics

CLEAN = "clean"


def calibration(subject: Subject, settings: CalibrationSettings) -> Evaluation:
    """Calibration metrics on test, from the logits that are there already: nothing runs through a backbone.

    Args:
        subject: its test predictions are read.
        settings: none so far.

    Returns:
        One finding for every metric of the evaluator's catalogue row.
    """
    test = subject.predictions["test"]
    found = classification_metrics(test.logits, test.targets, INFO.metrics)
    return Evaluation(
        findings=tuple(
            Finding(condition=CLEAN, metric=name, value=value, num_examples=len(test.targets))
            for name, value in found.items()
        )
    )
