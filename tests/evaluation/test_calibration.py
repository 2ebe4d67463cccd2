import numpy as np
import pytest

from raybench.catalog.evaluators import EVALUATORS
from raybench.evaluation.calibration import calibration
from raybench.evaluation.context import Predictions
from raybench.metrics import METRICS


def predictions(seed, num=50):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num, 4)).astype(np.float32)
    return Predictions(
        ids=tuple(str(i) for i in range(num)), targets=rng.integers(4, size=num), logits=logits
    )


def test_it_measures_what_the_catalogue_promises():
    found = calibration({"val": predictions(0), "test": predictions(1)})
    assert [(condition, metric) for condition, metric, _ in found] == [
        ("clean", metric) for metric in EVALUATORS["calibration"].metrics
    ]


def test_values_are_those_of_the_test_predictions():
    test = predictions(1)
    ((_, _, value),) = calibration({"val": predictions(0), "test": test})
    assert value == METRICS["ece"].compute(test.logits, test.targets)


def test_it_needs_test_predictions():
    with pytest.raises(KeyError, match="test"):
        calibration({"val": predictions(0)})
