from types import SimpleNamespace

import numpy as np

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.evaluators.calibration import CalibrationSettings
from raybench.evaluation.calibration import calibration
from raybench.evaluation.outcomes import Predictions
from raybench.metrics import METRICS


def predictions(seed, num=50):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num, 4)).astype(np.float32)
    return Predictions(
        ids=tuple(str(i) for i in range(num)), targets=rng.integers(4, size=num), logits=logits
    )


SUBJECT = SimpleNamespace(predictions={"val": predictions(0), "test": predictions(1)})


def test_it_measures_what_the_catalogue_promises():
    found = calibration(SUBJECT, CalibrationSettings())
    assert {finding.metric for finding in found.findings} == set(EVALUATORS["calibration"].metrics)


def test_values_are_those_of_the_test_predictions():
    test = predictions(1)
    (finding,) = (
        f
        for f in calibration(SUBJECT, CalibrationSettings()).findings
        if (f.metric, str(f.condition)) == ("ece", "clean")
    )
    assert finding.value == METRICS["ece"].compute(test.logits, test.targets)
    assert finding.num_examples == 50


def test_a_val_without_errors_is_warned_about():
    val = predictions(0)
    right = Predictions(ids=val.ids, targets=val.logits.argmax(axis=1), logits=val.logits)
    subject = SimpleNamespace(predictions={"val": right, "test": predictions(1)})
    assert "every one of 50 val images" in calibration(subject, CalibrationSettings()).warnings[0]
    assert not calibration(SUBJECT, CalibrationSettings()).warnings
