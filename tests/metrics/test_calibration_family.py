"""MCE, adaptive and classwise ECE, Brier and the reliability rows, against independent computations."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss

from raybench.metrics import METRICS
from raybench.metrics.calibration import NUM_BINS, reliability


def case(seed, num=400, classes=5, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(num, classes))
    targets = np.where(rng.random(num) < 0.6, logits.argmax(axis=1), rng.integers(classes, size=num))
    return logits.astype(np.float32), targets


def binned(confidence, correct, edges):
    """(Share, |accuracy − confidence|) of every bin that is not empty."""
    index = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, len(edges) - 2)
    return [
        (np.mean(index == b), abs(correct[index == b].mean() - confidence[index == b].mean()))
        for b in range(len(edges) - 1)
        if (index == b).any()
    ]


def top(logits, targets):
    probabilities = softmax(logits.astype(np.float64), axis=1)
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == targets).astype(float)


EDGES = np.linspace(0, 1, NUM_BINS + 1)


@pytest.mark.parametrize("seed", range(5))
def test_ece_and_mce_are_the_mean_and_the_largest_gap(seed):
    logits, targets = case(seed)
    gaps = binned(*top(logits, targets), EDGES)
    assert METRICS["ece"].compute(logits, targets) == pytest.approx(sum(s * g for s, g in gaps), abs=1e-6)
    assert METRICS["mce"].compute(logits, targets) == pytest.approx(max(g for _, g in gaps), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_adaptive_ece_has_bins_of_equal_mass(seed):
    logits, targets = case(seed, num=15 * 20)
    confidence, correct = top(logits, targets)
    order = np.argsort(confidence)
    gaps = [abs(correct[p].mean() - confidence[p].mean()) for p in order.reshape(15, 20)]
    assert METRICS["adaptive_ece"].compute(logits, targets) == pytest.approx(np.mean(gaps), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_classwise_ece_is_the_mean_over_classes(seed):
    logits, targets = case(seed)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    errors = [
        sum(s * g for s, g in binned(probabilities[:, c], (targets == c).astype(float), EDGES))
        for c in range(logits.shape[1])
    ]
    assert METRICS["classwise_ece"].compute(logits, targets) == pytest.approx(np.mean(errors), abs=1e-6)


def test_classwise_ece_counts_classes_that_are_absent():
    logits = np.log(np.array([[0.5, 0.3, 0.2]] * 4))
    expected = (abs(0.5 - 0.75) + abs(0.3 - 0.25) + 0.2) / 3
    assert METRICS["classwise_ece"].compute(logits, np.array([0, 0, 0, 1])) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_brier_is_scikit_learns(seed):
    logits, targets = case(seed)
    expected = brier_score_loss(targets, softmax(logits.astype(np.float64), axis=1), labels=range(5))
    assert METRICS["brier"].compute(logits, targets) == pytest.approx(expected, abs=1e-9)


def test_two_class_problems_are_judged_by_the_top_label():
    logits, targets = np.log(np.array([[0.9, 0.1], [0.2, 0.8]])), np.array([0, 1])
    for name, expected in (("ece", 0.15), ("mce", 0.2)):
        assert METRICS[name].compute(logits, targets) == pytest.approx(expected)


def test_reliability_rows_hold_every_example_and_give_the_ece():
    logits, targets = case(0)
    rows = reliability(logits, targets)
    assert sum(row["count"] for row in rows) == len(targets)
    error = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / len(targets)
    assert error == pytest.approx(METRICS["ece"].compute(logits, targets), abs=1e-6)
    assert all(abs(row["bin"] - row["confidence"]) <= 0.5 / NUM_BINS + 1e-9 for row in rows)


def test_the_order_of_equally_confident_examples_does_not_matter():
    rng = np.random.default_rng(0)
    logits = np.log(rng.choice([0.5, 0.7, 0.9], size=(200, 1)) * [1, 0] + [0, 0.05])
    targets = rng.integers(2, size=200)
    order = np.lexsort((targets, logits[:, 0]))
    value = METRICS["adaptive_ece"].compute(logits, targets)
    assert METRICS["adaptive_ece"].compute(logits[order], targets[order]) == pytest.approx(value, abs=1e-12)
