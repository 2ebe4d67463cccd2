import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.evaluation.temperature import fit_temperature, mean_nll


def case(seed, num, classes, scale):
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(num, classes))
    return logits, rng.integers(classes, size=num)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 50), st.integers(2, 8), st.floats(0.01, 100))
def test_it_never_raises_the_nll_it_is_fitted_on(seed, num, classes, scale):
    logits, targets = case(seed, num, classes, scale)
    temperature = fit_temperature(logits, targets)
    assert mean_nll(logits, targets, temperature) <= mean_nll(logits, targets, 1.0)
    assert 0.01 <= temperature <= 100


@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_it_finds_the_temperature_that_labels_were_drawn_with(truth):
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 4))
    noise = rng.gumbel(size=logits.shape)
    targets = (logits / truth + noise).argmax(axis=1)
    assert fit_temperature(logits, targets) == pytest.approx(truth, rel=0.05)


def test_no_other_temperature_is_better():
    logits, targets = case(3, 200, 5, 4.0)
    best = fit_temperature(logits, targets)
    others = np.exp(np.linspace(np.log(0.01), np.log(100), 400))
    assert mean_nll(logits, targets, best) <= min(mean_nll(logits, targets, t) for t in others) + 1e-9
