"""Answers that may be declined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.metrics import METRICS
from raybench.metrics.selective import accuracy_at_coverage, risk_coverage


def ordered(correct):
    """Logits of two classes, surest first, whose answers are right where `correct` is 1; none tie."""
    sure = np.linspace(5, 1, len(correct))
    return np.stack([sure, np.zeros(len(sure))], axis=1), 1 - np.array(correct)


def test_by_hand():
    logits, targets = ordered([1, 1, 0, 1])
    coverage, risk = risk_coverage(logits, targets)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == [0, 0, 1 / 3, 1 / 4]
    assert METRICS["aurc"].compute(logits, targets) == pytest.approx((1 / 3 + 1 / 4) / 4)
    assert [accuracy_at_coverage(logits, targets, c) for c in (0.25, 0.5, 0.75, 1)] == pytest.approx(
        [1, 1, 2 / 3, 3 / 4]
    )


@given(st.lists(st.integers(0, 1), min_size=1, max_size=40))
def test_the_risk_at_full_coverage_is_the_error_rate(correct):
    logits, targets = ordered(correct)
    assert risk_coverage(logits, targets)[1][-1] == pytest.approx(1 - np.mean(correct))


@given(st.lists(st.integers(0, 1), min_size=2, max_size=30), st.randoms())
def test_uninformative_confidence_gives_the_error_rate_in_any_order(correct, random):
    logits = np.tile([1.0, 0.0], (len(correct), 1))
    shuffled = list(correct)
    random.shuffle(shuffled)
    values = [METRICS["aurc"].compute(logits, 1 - np.array(c)) for c in (correct, shuffled)]
    assert values[0] == values[1] == pytest.approx(1 - np.mean(correct))


def test_a_perfect_order_of_errors_is_best():
    good, bad = [1] * 8 + [0] * 2, [0] * 2 + [1] * 8
    assert METRICS["aurc"].compute(*ordered(good)) < METRICS["aurc"].compute(*ordered(bad))
