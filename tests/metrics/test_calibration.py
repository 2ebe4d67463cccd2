import numpy as np
import pytest

from raybench.metrics.calibration import NUM_BINS, expected_calibration_error


def top_label_ece(probs, targets):
    """ECE as the paper defines it, in numpy."""
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == targets
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    gaps = [
        (bins == b).mean() * abs(confidence[bins == b].mean() - correct[bins == b].mean())
        for b in range(NUM_BINS)
        if (bins == b).any()
    ]
    return float(np.sum(gaps))


def drawn(seed, num_classes, present=None):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(num_classes) * 0.5, size=400).clip(1e-9)
    probs /= probs.sum(axis=1, keepdims=True)
    return probs, rng.integers(present or num_classes, size=400)


def test_value_worked_by_hand():
    # Four images at confidence 0.9, three of them right: |0.9 - 0.75|.
    logits = np.log(np.array([[0.9, 0.05, 0.05]] * 4))
    assert expected_calibration_error(logits, np.array([0, 0, 0, 1])) == pytest.approx(0.15, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("num_classes", "present"), [(10, None), (2, None), (10, 2), (10, 1)])
def test_agrees_with_numpy_whatever_classes_are_present(seed, num_classes, present):
    # netcal alone raises on ten columns with two classes present, and scores class 1 of two-class problems.
    probs, targets = drawn(seed, num_classes, present)
    assert expected_calibration_error(np.log(probs), targets) == pytest.approx(
        top_label_ece(probs, targets), abs=1e-5
    )


@pytest.mark.parametrize("right", [True, False])
def test_all_right_and_all_wrong_are_answered(right):
    value = expected_calibration_error(np.array([[50.0, 0.0]] * 5), np.full(5, 0 if right else 1))
    assert value == pytest.approx(0.0 if right else 1.0, abs=1e-9)
    assert 0.0 <= value <= 1.0


def test_renaming_the_classes_changes_nothing():
    probs, targets = drawn(5, 4)
    order = np.array([2, 0, 3, 1])
    renamed = expected_calibration_error(np.log(probs[:, order]), np.argsort(order)[targets])
    assert renamed == pytest.approx(expected_calibration_error(np.log(probs), targets), abs=1e-9)
