"""The evaluator `calibration`: does a confidence of 0.8 mean right in 80 of 100 cases?"""

from collections.abc import Mapping

from raybench.catalog.evaluators import EVALUATORS
from raybench.evaluation.context import EvaluatorFinding, Predictions
from raybench.metrics import classification_metrics
from raybench.records import Split

CLEAN = "clean"


def calibration(predictions: Mapping[Split, Predictions]) -> list[EvaluatorFinding]:
    """Calibration metrics on test, from the logits that are there already: nothing runs through a backbone.

    Args:
        predictions: of the final stage; `test` is read.

    Returns:
        (condition, metric, value) for every metric of the evaluator's catalogue row.

    >>> import numpy as np
    >>> sure_but_wrong = Predictions(ids=("a",), targets=np.array([1]), logits=np.array([[99.0, 0.0]]))
    >>> [(name, round(value, 6)) for _, name, value in calibration({"test": sure_but_wrong})]
    [('ece', 1.0)]
    """
    test = predictions["test"]
    found = classification_metrics(test.logits, test.targets, EVALUATORS["calibration"].metrics)
    return [(CLEAN, name, value) for name, value in found.items()]
