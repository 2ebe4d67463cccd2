import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from raybench.core.errors import DivergedError
from raybench.evaluation.device_features import DeviceFeatures
from raybench.evaluation.feature_norm import FeatureNorm
from raybench.evaluation.logistic_path import FoldedNorm, LogisticObjective, logistic_path

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)


def stored(features):
    return DeviceFeatures(features, torch.device("cpu"))


def fitted(splits, strengths, kind="standardize", **options):
    (train, targets), (val, val_targets) = splits["train"], splits["val"]
    return logistic_path(
        stored(train),
        targets,
        strengths,
        norm=FeatureNorm.fit(kind, train),
        num_classes=1 + int(targets.max()),
        val=(stored(val), val_targets),
        **options,
    )


def normalised(splits, kind, name):
    norm = FeatureNorm.fit(kind, splits["train"][0])
    return norm.apply(torch.tensor(splits[name][0])).numpy()


def predicted(weights, features):
    return (features @ weights[:-1] + weights[-1]).argmax(axis=1)


def penalised_loss(weights, features, targets, inverse_l2):
    """scikit-learn's objective divided by C·n: mean cross-entropy + ‖W‖² / (2·C·n), bias free."""
    logits = features.astype(np.float64) @ weights[:-1] + weights[-1]
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    penalty = np.square(weights[:-1]).sum() / (2 * inverse_l2 * len(targets))
    return -log_probs[np.arange(len(targets)), targets].mean() + penalty


@pytest.mark.parametrize("kind", ["standardize", "l2", "none"])
def test_agrees_with_scikit_learn_at_every_strength(digits, kind):
    """The losses agree closely. Predictions agree up to examples that rounding decides on this processor."""
    path = fitted(digits, STRENGTHS, kind, patience=None)
    train, val = normalised(digits, kind, "train"), normalised(digits, kind, "val")
    targets = digits["train"][1]
    for fit in path:
        # Converged well below its default tolerance, at which cold fits are up to two points off themselves.
        reference = LogisticRegression(C=fit.inverse_l2, tol=1e-6, max_iter=5000).fit(
            train.astype(np.float64), targets
        )
        expected = np.vstack([reference.coef_.T, reference.intercept_])
        found = fit.weights.double().numpy()
        best = penalised_loss(expected, train, targets, fit.inverse_l2)
        assert penalised_loss(found, train, targets, fit.inverse_l2) == pytest.approx(
            best, rel=0.02, abs=2e-4
        )
        num_different = np.count_nonzero(predicted(found, val) != reference.predict(val.astype(np.float64)))
        assert num_different <= len(val) // 50


def test_two_classes_are_penalised_as_scikit_learn_penalises_its_single_vector(digits):
    two = {name: (x[y < 2], y[y < 2]) for name, (x, y) in digits.items()}
    (fit,) = fitted(two, (0.01,), patience=None)
    reference = LogisticRegression(C=0.01, tol=1e-6).fit(
        normalised(two, "standardize", "train"), two["train"][1]
    )
    difference = (fit.weights[:-1, 1] - fit.weights[:-1, 0]).numpy()
    np.testing.assert_allclose(difference, reference.coef_[0], atol=2e-3)


@pytest.mark.parametrize("kind", ["standardize", "l2", "none"])
def test_the_gradient_is_that_of_autograd(digits, kind):
    features, targets = torch.tensor(digits["train"][0][:200]), digits["train"][1][:200]
    norm = FeatureNorm.fit(kind, features.numpy())
    flat = np.random.default_rng(0).normal(scale=0.1, size=65 * 10)
    value, gradient = LogisticObjective(stored(features.numpy()), targets, norm, 10)(flat, 0.3)
    weights = torch.tensor(flat.reshape(65, 10), requires_grad=True)
    inputs = norm.apply(features.clone()).double()
    loss = torch.nn.functional.cross_entropy(inputs @ weights[:-1] + weights[-1], torch.tensor(targets))
    loss = loss + 0.15 * weights[:-1].square().sum()
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, weights.grad.numpy().ravel(), atol=1e-5)


@pytest.mark.parametrize("kind", ["standardize", "l2", "none"])
def test_a_folded_normalisation_gives_the_same_logits(digits, kind):
    features = torch.tensor(digits["val"][0])
    norm, weights = FeatureNorm.fit(kind, digits["train"][0]), torch.randn(65, 3)
    folded, bias = FoldedNorm(norm, stored(features.numpy())).fold(weights)
    found = FoldedNorm(norm, stored(features.numpy())).scale_rows(features @ folded, slice(None)) + bias
    expected = norm.apply(features.clone()) @ weights[:-1] + weights[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_starting_from_the_last_fit_saves_most_iterations(digits):
    strengths = tuple(np.logspace(-4, 1, 20))
    warm = sum(fit.num_iterations for fit in fitted(digits, strengths, patience=None))
    cold = sum(fitted(digits, (c,), patience=None)[0].num_iterations for c in strengths)
    assert warm < cold / 2


def test_the_path_ends_when_val_no_longer_improves(digits):
    strengths = tuple(np.logspace(-3, 6, 40))
    assert len(fitted(digits, strengths)) < len(strengths)
    assert len(fitted(digits, strengths, patience=None)) == len(strengths)


def test_the_path_starts_with_the_strongest_regularisation(digits):
    assert [fit.inverse_l2 for fit in fitted(digits, (1.0, 0.01, 0.1))] == [0.01, 0.1, 1.0]


def test_features_that_are_not_finite_are_named_as_the_reason(digits):
    (train, targets), val = digits["train"], digits["val"]
    broken = train.copy()
    broken[3, 5] = np.nan
    norm = FeatureNorm.fit("none", train)
    with pytest.raises(DivergedError, match="C = 1 has loss nan; check the features"):
        logistic_path(
            stored(broken), targets, (1.0,), norm=norm, num_classes=10, val=(stored(val[0]), val[1])
        )
