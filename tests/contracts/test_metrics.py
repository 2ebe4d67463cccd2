"""What every metric must obey. A new metric fails here until it has a row in PERFECT."""

import math

import numpy as np
import pytest

from raybench.metrics import METRICS, ArrayMetric

OF_ARRAYS = [name for name in METRICS if isinstance(METRICS[name], ArrayMetric)]

SURE_AND_RIGHT = (1e3 * np.eye(6)[[0, 1, 2, 3]], np.array([0, 1, 2, 3]))
PERFECT = dict.fromkeys(OF_ARRAYS, SURE_AND_RIGHT)
"""Inputs on which a flawless classifier's value is known."""


def test_every_metric_has_a_perfect_case():
    assert set(PERFECT) == set(OF_ARRAYS)


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_a_perfect_answer_reaches_the_best_bound(name):
    metric = METRICS[name]
    assert math.isclose(metric.compute(*PERFECT[name]), metric.best, abs_tol=1e-9)


@pytest.mark.parametrize("name", OF_ARRAYS)
@pytest.mark.parametrize("seed", range(3))
def test_values_stay_within_the_bounds(name, seed):
    rng = np.random.default_rng(seed)
    value = METRICS[name].compute(rng.normal(scale=30, size=(40, 7)), rng.integers(7, size=40))
    low, high = METRICS[name].bounds
    assert low <= value <= high


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_the_order_of_the_examples_does_not_matter(name):
    rng = np.random.default_rng(0)
    logits, targets, order = rng.normal(size=(50, 4)), rng.integers(4, size=50), rng.permutation(50)
    compute = METRICS[name].compute
    assert compute(logits, targets) == pytest.approx(compute(logits[order], targets[order]), abs=1e-9)


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_docstring_names_arguments_range_and_source(name):
    doc = METRICS[name].compute.__doc__
    assert all(part in doc for part in ("Args:", "Returns:", "Source:", ">>>"))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is_and_which_way_is_better(name):
    metric = METRICS[name]
    assert metric.doc
    assert metric.direction in ("min", "max")
    assert metric.bounds[0] < metric.bounds[1]


@pytest.mark.parametrize("name", METRICS)
def test_names_are_allowed_as_mlflow_keys(name):
    assert name.replace("_", "").isalnum()
