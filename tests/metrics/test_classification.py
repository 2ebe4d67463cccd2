import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_accuracy

from raybench.metrics.classification import (
    accuracy,
    classification_metrics,
    mean_class_accuracy,
    negative_log_likelihood,
    places_of_true_class,
    top5_accuracy,
)
from raybench.metrics.registry import METRICS

ALL = (accuracy, top5_accuracy, mean_class_accuracy, negative_log_likelihood)


def drawn(seed, num_examples=300, num_classes=10):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_examples, num_classes)).astype(np.float32)
    return logits, rng.integers(num_classes, size=num_examples)


def softmax(logits):
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def test_values_worked_by_hand():
    # Class 0 is right in two of three cases, class 1 in its only case.
    logits = np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]]))
    targets = np.array([0, 0, 0, 1])
    assert accuracy(logits, targets) == 0.75
    assert mean_class_accuracy(logits, targets) == pytest.approx((2 / 3 + 1) / 2)
    expected = -np.log([0.8, 0.6, 0.3, 0.9]).mean()
    assert negative_log_likelihood(logits, targets) == pytest.approx(expected, abs=1e-7)


def test_random_logits_give_chance():
    logits, targets = drawn(0, num_examples=20_000)
    assert accuracy(logits, targets) == pytest.approx(0.1, abs=0.01)
    assert top5_accuracy(logits, targets) == pytest.approx(0.5, abs=0.015)
    assert mean_class_accuracy(logits, targets) == pytest.approx(0.1, abs=0.01)


def test_equal_logits_have_the_nll_of_guessing():
    assert negative_log_likelihood(np.zeros((5, 7)), np.zeros(5, np.int64)) == pytest.approx(np.log(7))


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scikit_learn(seed):
    logits, targets = drawn(seed)
    predicted, classes = logits.argmax(axis=1), range(10)
    assert accuracy(logits, targets) == accuracy_score(targets, predicted)
    assert top5_accuracy(logits, targets) == top_k_accuracy_score(targets, logits, k=5, labels=classes)
    assert mean_class_accuracy(logits, targets) == pytest.approx(balanced_accuracy_score(targets, predicted))
    expected = log_loss(targets, softmax(logits), labels=classes)
    assert negative_log_likelihood(logits, targets) == pytest.approx(expected, abs=1e-6)


def test_a_class_without_true_examples_does_not_count_even_if_predicted():
    # torchmetrics' macro average would answer 0.5: class 2 is predicted once, so it counts with recall 0.
    logits, targets = np.eye(3)[[0, 1, 2]], np.array([0, 1, 1])
    assert mean_class_accuracy(logits, targets) == pytest.approx(0.75)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_top5_of_few_classes_is_one(num_classes):
    logits, targets = drawn(0, 50, num_classes)
    assert top5_accuracy(logits, targets) == 1.0


@pytest.mark.parametrize("metric", ALL)
def test_a_constant_added_to_all_logits_of_an_image_changes_nothing(metric):
    logits, targets = drawn(3)
    moved = logits + np.arange(len(logits), dtype=np.float32)[:, None] % 7
    assert metric(moved, targets) == pytest.approx(metric(logits, targets), abs=1e-6)


def test_a_sure_mistake_has_a_finite_nll():
    assert negative_log_likelihood(np.array([[5e4, 0.0]]), np.array([1])) == pytest.approx(5e4)


def test_accuracy_is_the_exact_fraction_not_a_float32():
    logits, targets = np.eye(2)[[0] * 400], np.array([0] * 385 + [1] * 15)
    assert accuracy(logits, targets) == 0.9625


def test_several_metrics_at_once_keep_their_names_and_order():
    found = classification_metrics(*drawn(0), ["nll", "accuracy"])
    assert list(found) == ["nll", "accuracy"]


tied_logits = st.integers(2, 12).flatmap(
    lambda num_classes: st.lists(
        st.lists(st.integers(0, 3), min_size=num_classes, max_size=num_classes), min_size=1, max_size=8
    )
)
"""Logits of few distinct values, so that most are tied."""


def count_correct(metric, logits, target):
    targets = np.full(len(logits), target)
    return METRICS[metric].resampling(logits, targets).values


@given(tied_logits)
def test_the_predicted_class_is_always_among_the_five_best(rows):
    logits = np.array(rows, np.float32)
    for target in range(logits.shape[1]):
        right, among_five = (count_correct(name, logits, target) for name in ("accuracy", "top5_accuracy"))
        assert (right <= among_five).all()


@given(tied_logits)
def test_at_most_five_classes_are_among_the_five_best_and_one_is_the_first(rows):
    logits = np.array(rows, np.float32)
    targets = range(logits.shape[1])
    assert (sum(count_correct("accuracy", logits, target) for target in targets) == 1).all()
    assert (sum(count_correct("top5_accuracy", logits, target) for target in targets) <= 5).all()


@given(tied_logits, st.randoms(use_true_random=False))
def test_places_below_the_first_do_not_depend_on_the_order_of_classes(rows, random):
    logits = np.array(rows, np.float32)
    order = list(range(logits.shape[1]))
    random.shuffle(order)
    predicted, num_seen = logits.argmax(axis=1), logits.shape[1]
    for position, target in enumerate(order):
        places = places_of_true_class("top5_accuracy", logits, np.full(len(logits), target)).numpy()
        moved = places_of_true_class(
            "top5_accuracy", logits[:, order], np.full(len(logits), position)
        ).numpy()
        # Which of several highest is the predicted one, is up to the order; no other class moves.
        is_highest = logits[:, target] == logits[np.arange(len(logits)), predicted]
        assert (places == moved)[~is_highest].all()
        assert (places < num_seen).all()


def test_equal_logits_predict_class_0_and_place_no_other_class_among_the_five():
    logits, targets = np.zeros((10, 10)), np.arange(10)
    assert accuracy(logits, targets) == top5_accuracy(logits, targets) == 0.1
    assert accuracy(logits, np.zeros(10, np.int64)) == top5_accuracy(logits, np.zeros(10, np.int64)) == 1.0


def test_ties_that_fit_among_the_five_count_and_ties_that_straddle_the_fifth_place_do_not():
    fits, straddles = [9.0, 8, 7, 6, 6, 1, 0], [9.0, 8, 7, 6, 5, 5, 0]
    assert [top5_accuracy(np.array([fits]), np.array([target])) for target in range(7)] == [1] * 5 + [0] * 2
    assert [top5_accuracy(np.array([straddles]), np.array([t])) for t in range(7)] == [1] * 4 + [0] * 3


@pytest.mark.parametrize("k", [1, 5])
def test_agrees_with_torchmetrics_where_no_logits_are_equal(k):
    logits, targets = drawn(5)
    theirs = multiclass_accuracy(
        torch.from_numpy(logits), torch.from_numpy(targets), num_classes=10, average="micro", top_k=k
    )
    assert round({1: accuracy, 5: top5_accuracy}[k](logits, targets) * 300) == round(float(theirs) * 300)
