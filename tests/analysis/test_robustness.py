"""Effective robustness: against scipy's regression, on a line with one known exception, and refused."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from raybench.analysis.robustness import effective_robustness
from raybench.core.errors import EmptyInputError, OutOfBoundsError


def frame(clean, shifted) -> pl.DataFrame:
    names = [f"b{i}" for i in range(len(clean))]
    return pl.DataFrame({"backbone": names, "condition": "shift(x)", "clean": clean, "shifted": shifted})


def test_agrees_with_scipys_regression():
    rng = np.random.default_rng(0)
    clean, shifted = rng.uniform(0.5, 0.9, 12), rng.uniform(0.2, 0.7, 12)
    line = stats.linregress(special.logit(clean), special.logit(shifted))
    found = effective_robustness(frame(clean, shifted)).join(frame(clean, shifted), on="backbone")
    expected = special.expit(line.intercept + line.slope * special.logit(found["clean"].to_numpy()))
    assert found["expected"].to_numpy() == pytest.approx(expected)
    assert found["slope"][0] == pytest.approx(line.slope)
    assert found["r_squared"][0] == pytest.approx(line.rvalue**2)


def test_an_exception_to_a_perfect_line_is_found_by_the_baseline():
    clean = np.array([0.5, 0.6, 0.7, 0.8, 0.7])
    shifted = special.expit(0.9 * special.logit(clean) - 1)
    shifted[4] += 0.1
    found = effective_robustness(frame(clean, shifted), baseline=("b0", "b1", "b2", "b3"))
    assert found["effective_robustness"].to_list() == pytest.approx([0, 0, 0, 0, 0.1], abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_order_does_not_matter_and_residuals_in_logits_sum_to_zero(seed):
    rng = np.random.default_rng(seed)
    table = frame(rng.uniform(0.3, 0.9, 6), rng.uniform(0.1, 0.8, 6))
    found = effective_robustness(table)
    assert found.equals(effective_robustness(table.sample(fraction=1, shuffle=True, seed=seed)))
    residuals = special.logit(found["shifted"].to_numpy()) - special.logit(found["expected"].to_numpy())
    assert residuals.sum() == pytest.approx(0, abs=1e-9)


def test_zero_and_one_are_finite():
    found = effective_robustness(frame([0.0, 0.5, 1.0], [0.0, 0.2, 1.0]))
    assert found["effective_robustness"].is_finite().all()


def test_bad_input_is_refused():
    with pytest.raises(EmptyInputError, match="got 2"):
        effective_robustness(frame([0.5, 0.6], [0.1, 0.2]))
    with pytest.raises(EmptyInputError, match="different clean"):
        effective_robustness(frame([0.5] * 4, [0.1, 0.2, 0.3, 0.4]))
    with pytest.raises(OutOfBoundsError):
        effective_robustness(frame([50.0, 60.0, 70.0], [0.1, 0.2, 0.3]))
    with pytest.raises(EmptyInputError, match="at least one shift"):
        effective_robustness(frame([0.5], [0.1]).head(0))
