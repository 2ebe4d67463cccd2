import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeClassifier

from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import DivergedError
from raybench.evaluation import ridge_path as module
from raybench.evaluation.feature_norm import FeatureNorm
from raybench.evaluation.linear_probe import linear_probe
from raybench.evaluation.ridge_path import ridge_path
from raybench.evaluation.temperature import fit_temperature

PENALTIES = (1e-6, 1e-3, 0.1, 10.0)
RIDGE = {"solver": "ridge", "feature_norm": "standardize"}
CPU = torch.device("cpu")


def fitted(splits, penalties=PENALTIES, kind="standardize"):
    train, targets = splits["train"]
    norm, num_classes = FeatureNorm.fit(kind, train), 1 + int(targets.max())
    return ridge_path(
        train, targets, penalties, norm=norm, num_classes=num_classes, val=splits["val"], device=CPU
    )


def normalised(splits, kind, name):
    norm = FeatureNorm.fit(kind, splits["train"][0])
    return norm.apply(torch.tensor(splits[name][0])).double().numpy()


def undone(fit):
    """The weights before their division by the temperature, [d + 1, c]."""
    return fit.weights.double().numpy() * fit.temperature


def first(splits, num):
    features, targets = splits["train"]
    return {**splits, "train": (features[:num], targets[:num])}


def test_two_points_by_hand():
    """x = ∓1, so Sxx = 2 and Sxy = 2 for the class at +1: w = 2 / (2 + 2 · 1) = 1/2, b = 0."""
    points = (np.array([[-1.0], [1.0]], np.float32), np.array([0, 1]))
    (fit,) = fitted({"train": points, "val": points}, (1.0,), "none")
    np.testing.assert_allclose(undone(fit), [[-0.5, 0.5], [0.0, 0.0]], atol=1e-7)


@pytest.mark.parametrize("num_train", [1000, 40], ids=["more examples", "more features"])
@pytest.mark.parametrize("kind", ["standardize", "l2", "none"])
def test_weights_are_those_of_scikit_learns_ridge(digits, kind, num_train):
    splits = first(digits, num_train)
    features, targets = normalised(splits, kind, "train"), splits["train"][1]
    signs = 2.0 * np.eye(1 + targets.max())[targets] - 1.0
    for fit in fitted(splits, kind=kind):
        reference = Ridge(alpha=num_train * fit.penalty, solver="svd").fit(features, signs)
        expected = np.vstack([reference.coef_.T, reference.intercept_])
        np.testing.assert_allclose(undone(fit), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("classes", [2, 10])
def test_predictions_are_those_of_scikit_learns_classifier(digits, classes):
    splits = {name: (x[y < classes], y[y < classes]) for name, (x, y) in digits.items()}
    val, (features, targets) = normalised(splits, "standardize", "val"), splits["train"]
    for fit in fitted(splits):
        reference = RidgeClassifier(alpha=len(features) * fit.penalty, solver="svd")
        expected = reference.fit(normalised(splits, "standardize", "train"), targets).predict(val)
        weights = undone(fit)
        assert np.array_equal((val @ weights[:-1] + weights[-1]).argmax(axis=1), expected)


def test_a_large_common_offset_of_the_features_changes_no_score(digits):
    """The Gram matrix is centred block by block; its plain form would lose six digits here."""
    moved = {name: (x + np.float32(1000), y) for name, (x, y) in digits.items()}
    for fit, other in zip(fitted(digits, kind="none"), fitted(moved, kind="none"), strict=True):
        np.testing.assert_allclose(undone(fit)[:-1], undone(other)[:-1], rtol=1e-3, atol=1e-6)


def test_block_sizes_change_rounding_only(digits, monkeypatch):
    whole = fitted(digits)
    inner = module.normalised_blocks
    monkeypatch.setattr(module, "normalised_blocks", lambda *a: inner(*a, rows=37))
    for fit, other in zip(whole, fitted(digits), strict=True):
        torch.testing.assert_close(fit.weights, other.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_train", [1000, 40])
def test_one_penalty_alone_gives_the_same_last_bit(digits, num_train):
    splits = first(digits, num_train)
    for fit in fitted(splits):
        (alone,) = fitted(splits, (fit.penalty,))
        assert torch.equal(alone.weights, fit.weights)


def test_the_temperature_is_the_one_of_least_nll(digits):
    val = torch.tensor(normalised(digits, "standardize", "val")).float()
    for fit in fitted(digits):
        logits = (val @ fit.weights[:-1] + fit.weights[-1]).numpy() * np.float32(fit.temperature)
        assert fit.temperature == pytest.approx(fit_temperature(logits, digits["val"][1]), rel=1e-3)


def test_the_probe_chooses_among_45_penalties_and_its_choice_alone_is_the_same_head(context_of, digits):
    context = context_of(digits)
    packed = linear_probe(context, RIDGE, 0, 1)
    (result,) = packed.run_epochs()
    assert len(result.grid) == 45
    assert result.metrics["accuracy"] == max(cell["accuracy"] for cell in result.grid) > 0.9
    assert result.metrics["nll"] < 0.6  # Softmax of the bare scores gives 1.6 to 2.
    alone = linear_probe(context, {**RIDGE, **result.chosen}, 0, 1)
    (again,) = alone.run_epochs()
    assert (again.metrics, again.chosen, again.grid) == (result.metrics, result.chosen, ())
    assert np.array_equal(alone.predict("val").logits, packed.predict("val").logits)


def test_features_that_are_nan_end_as_diverged(digits):
    broken = {**digits, "train": (np.full_like(digits["train"][0], np.nan), digits["train"][1])}
    with pytest.raises(DivergedError, match="NaN or infinite"):
        fitted(broken, kind="none")


def test_ridge_is_not_searched_unless_a_spec_asks_for_it():
    probe = PROTOCOLS["linear_probe"]
    assert "ridge" not in probe.space["solver"].options
    assert list(probe.packed_grid({"solver": "ridge"})) == ["ridge_penalty"]
