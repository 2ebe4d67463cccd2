from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from raybench.core.errors import DataError, SplitLockedError
from raybench.evaluation import knn as knn_module
from raybench.evaluation.knn import knn


def run(context, hparams):
    fitted = knn(context, hparams, 0, 1)
    return fitted, list(fitted.run_epochs())


@pytest.mark.parametrize(("kind", "metric"), [("none", "euclidean"), ("l2", "cosine")])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_digits_are_classified_exactly_as_by_scikit_learn(context_of, digits, kind, metric, k):
    # Pixels are whole numbers, so distances tie and scikit-learn keeps whichever it met; noise breaks ties.
    noise = np.random.default_rng(0)
    splits = {n: ((x + noise.normal(0, 0.01, x.shape)).astype(np.float32), y) for n, (x, y) in digits.items()}
    cell = {"k": k, "weighting": "uniform"}
    fitted, _ = run(context_of(splits, is_unlocked=True), {"feature_norm": kind, **cell})
    reference = KNeighborsClassifier(n_neighbors=k, metric=metric, algorithm="brute")
    reference.fit(splits["train"][0].astype(np.float64), splits["train"][1])
    expected = reference.predict_proba(splits["test"][0].astype(np.float64))
    logits = fitted.predict("test").logits
    np.testing.assert_array_equal(logits.argmax(axis=1), expected.argmax(axis=1))
    shares = (np.exp(logits.astype(np.float64)) * (k + 1) - 0.1) / k
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_one_trial_tries_every_k_and_weighting(context_of, digits):
    _, (result,) = run(context_of(digits), {"feature_norm": "l2"})
    assert len(result.grid) == 56
    assert result.metrics["accuracy"] == max(cell["accuracy"] for cell in result.grid) > 0.97


def test_the_chosen_cell_alone_gives_the_same_last_bit(context_of, digits):
    context = context_of(digits)
    packed, (result,) = run(context, {"feature_norm": "l2"})
    alone, (again,) = run(context, {"feature_norm": "l2", **result.chosen})
    assert again.metrics == result.metrics
    assert again.grid == ()
    assert np.array_equal(alone.predict("val").logits, packed.predict("val").logits)


def test_an_absurd_k_is_not_tried_on_a_small_training_set(context_of, digits):
    features, targets = digits["train"]
    few = {**digits, "train": (features[:15], targets[:15])}
    _, (result,) = run(context_of(few), {"feature_norm": "none"})
    assert max(cell["k"] for cell in result.grid) == 10


@pytest.mark.parametrize("k", [1, 3])
def test_classes_without_a_vote_are_not_among_the_five_best(context_of, digits, k):
    context = context_of(digits)
    fitted, (result,) = run(context, {"feature_norm": "l2", "k": k, "weighting": "uniform"})
    predictions = fitted.predict("val")
    # A class without a vote has the logit of 1/10 of a neighbour's vote.
    true_logits = predictions.logits[np.arange(len(predictions.targets)), predictions.targets]
    num_voted = int((true_logits > np.log(0.15 / (k + 1))).sum())
    assert round(result.metrics["top5_accuracy"] * len(predictions.targets)) == num_voted
    assert num_voted < len(predictions.targets)


@pytest.mark.parametrize("kind", ["none", "standardize", "l2"])
def test_the_scale_of_the_features_does_not_change_the_choice(context_of, digits, kind):
    _, (result,) = run(context_of(digits), {"feature_norm": kind})
    scaled = {name: (features * 64, targets) for name, (features, targets) in digits.items()}
    _, (again,) = run(context_of(scaled), {"feature_norm": kind})
    assert again.chosen == result.chosen


def test_features_that_are_all_alike_are_answered(context_of, digits):
    alike = {name: (np.ones_like(features), targets) for name, (features, targets) in digits.items()}
    _, (result,) = run(context_of(alike), {"feature_norm": "none"})
    assert 0.0 < result.metrics["accuracy"] < 0.3


def test_test_cannot_be_read_while_locked(context_of, digits):
    fitted, _ = run(context_of(digits), {"feature_norm": "l2"})
    with pytest.raises(SplitLockedError, match="locked"):
        fitted.predict("test")


def test_prediction_before_fitting_is_a_bug_with_a_sentence(context_of, digits):
    with pytest.raises(RuntimeError, match="iterate run_epochs"):
        knn(context_of(digits), {}, 0, 1).predict("val")


@pytest.mark.parametrize("objective", ["accuracy", "mean_class_accuracy", "nll"])
def test_the_vote_is_chosen_by_the_objective_of_the_search(context_of, digits, objective):
    features, targets = digits["train"]
    few = {**digits, "train": (features[:120], targets[:120])}
    _, (result,) = run(replace(context_of(few), objective=objective), {"feature_norm": "none"})
    values = [cell[objective] for cell in result.grid]
    best = min(values) if objective == "nll" else max(values)
    assert result.metrics[objective] == pytest.approx(best, rel=1e-6)
    assert all(set(cell) == {"k", "weighting", objective} for cell in result.grid)


def test_accuracy_and_likelihood_choose_different_votes(context_of, digits):
    features, targets = digits["train"]
    few = {**digits, "train": (features[:120], targets[:120])}
    chosen = {
        objective: run(replace(context_of(few), objective=objective), {"feature_norm": "none"})[1][0]
        for objective in ("accuracy", "nll")
    }
    assert chosen["nll"].metrics["nll"] < chosen["accuracy"].metrics["nll"]
    assert chosen["nll"].metrics["accuracy"] < chosen["accuracy"].metrics["accuracy"]


@pytest.mark.parametrize("k", [1001, 10**9])
def test_more_neighbours_than_training_images_are_refused(context_of, digits, k):
    with pytest.raises(DataError, match=rf"cannot take k = {k} neighbours of 1000 training images"):
        run(context_of(digits), {"feature_norm": "none", "k": k, "weighting": "uniform"})


def test_all_training_images_may_vote(context_of, digits):
    _, (result,) = run(context_of(digits), {"feature_norm": "none", "k": 1000, "weighting": "uniform"})
    assert result.metrics["accuracy"] < 0.3  # The most frequent class.


@pytest.mark.parametrize("norm", ["l2", "standardize"])
def test_val_is_searched_once_and_its_report_is_the_same_to_the_last_bit(
    context_of, digits, norm, monkeypatch
):
    searches, inner = [], knn_module.nearest_blocks
    monkeypatch.setattr(
        knn_module, "nearest_blocks", lambda *given: searches.append(len(given[0])) or inner(*given)
    )
    probe = knn_module.knn(context_of(digits), {"feature_norm": norm}, 0, 1)
    (result,) = probe.run_epochs()
    assert searches == [400]
    assert probe.report("val").metrics == result.metrics
