"""Calibration metrics by hand, and a temperature that is fitted on val and applied once, to test."""

from types import SimpleNamespace

import numpy as np
import pytest

from raybench.catalog.evaluators.calibration import CalibrationSettings
from raybench.evaluation.calibration import calibration
from raybench.evaluation.outcomes import Predictions
from raybench.evaluation.temperature import fit_temperature, mean_nll
from raybench.metrics import METRICS


def predictions(seed, num=50, scale=1.0):
    """Random logits, and targets drawn from their softmax: calibrated if `scale` is 1."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num, 4))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    ids = tuple(str(i) for i in range(num))
    return Predictions(ids=ids, targets=targets, logits=(scale * logits).astype(np.float32))


OVERCONFIDENT = predictions(0, num=400, scale=3.0)
UNDERCONFIDENT = predictions(1, num=300, scale=0.5)
FITTED = SimpleNamespace(predictions={"val": OVERCONFIDENT, "test": UNDERCONFIDENT})
SCALED = "temperature_scaled(fit=val)"


def values(fitted):
    results = calibration(fitted, CalibrationSettings()).results
    return {(r.metric, str(r.condition)): (r.value, r.num_examples) for r in results}


def test_the_temperature_is_fitted_on_val():
    temperature, num_examples = values(FITTED)["temperature", SCALED]
    assert temperature == fit_temperature(OVERCONFIDENT.logits, OVERCONFIDENT.targets)
    assert num_examples == 400
    # About 3 on val, about 0.5 on test: the two splits cannot be mistaken for each other.
    assert temperature > 2 > 1 > fit_temperature(UNDERCONFIDENT.logits, UNDERCONFIDENT.targets)


def test_it_divides_the_logits_of_test_once():
    measured = values(FITTED)
    temperature = measured["temperature", SCALED][0]
    expected = mean_nll(UNDERCONFIDENT.logits, UNDERCONFIDENT.targets, temperature)
    assert measured["nll", SCALED] == (pytest.approx(expected, rel=1e-5), 300)
    scaled = UNDERCONFIDENT.logits / np.float32(temperature)
    assert measured["ece", SCALED][0] == METRICS["ece"].compute(scaled, UNDERCONFIDENT.targets)


@pytest.mark.parametrize("metric", ["ece", "brier", "adaptive_ece"])
def test_clean_values_are_those_of_the_test_predictions(metric):
    expected = METRICS[metric].compute(UNDERCONFIDENT.logits, UNDERCONFIDENT.targets)
    assert values(FITTED)[metric, "clean"] == (expected, 300)


def test_protocols_measure_the_clean_nll_themselves():
    assert ("nll", "clean") not in values(FITTED)


def test_the_reliability_curve_holds_both_conditions_and_every_image():
    rows = calibration(FITTED, CalibrationSettings()).curves["reliability"]
    for condition in ("clean", SCALED):
        assert sum(row["count"] for row in rows if row["condition"] == condition) == 300


def test_a_val_without_errors_is_warned_about():
    correct = Predictions(
        ids=OVERCONFIDENT.ids, targets=OVERCONFIDENT.logits.argmax(axis=1), logits=OVERCONFIDENT.logits
    )
    perfect = SimpleNamespace(predictions={"val": correct, "test": UNDERCONFIDENT})
    (warning,) = calibration(perfect, CalibrationSettings()).warnings
    assert "all 400 val images are classified correctly" in warning
    assert not calibration(FITTED, CalibrationSettings()).warnings
