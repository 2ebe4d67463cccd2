"""Evaluators name metrics that exist."""

import pytest

from raybench.catalog.evaluators import EVALUATORS
from raybench.metrics import METRICS


@pytest.mark.parametrize("name", EVALUATORS)
def test_an_evaluators_metrics_are_registered(name):
    assert set(EVALUATORS[name].metrics) <= set(METRICS)
