"""Scores that part known from unknown images, against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from raybench.core.errors import EmptyInputError
from raybench.metrics.ood import auroc, energy, fpr95, mahalanobis, maximum_softmax, nearest_neighbour

SCORES = arrays(np.float64, st.integers(1, 30), elements=st.integers(-5, 5).map(float))


@given(SCORES, SCORES)
def test_auroc_is_scikit_learns_ties_included(inside, outside):
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(truth, np.concatenate([inside, outside])))


@given(SCORES, SCORES)
def test_fpr95_is_the_first_threshold_that_keeps_95_percent(inside, outside):
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    false, true, _ = roc_curve(truth, np.concatenate([inside, outside]), drop_intermediate=False)
    assert fpr95(inside, outside) == pytest.approx(false[np.argmax(true >= 0.95 - 1e-12)])


def test_separated_scores_are_parted_perfectly():
    assert (auroc(np.array([2.0, 3]), np.array([0.0, 1])), fpr95(np.array([2.0, 3]), np.array([0.0, 1]))) == (
        1,
        0,
    )


@pytest.mark.parametrize("measure", [auroc, fpr95])
def test_nothing_to_compare_is_refused(measure):
    with pytest.raises(EmptyInputError, match="needs images of both kinds, got 0 in and 1 out"):
        measure(np.array([]), np.array([1.0]))


def test_softmax_and_energy_by_hand():
    logits = np.log(np.array([[3.0, 1.0]]))
    assert maximum_softmax(logits) == pytest.approx([0.75])
    assert energy(logits) == pytest.approx([np.log(4)])
    assert energy(logits + 5) == pytest.approx([np.log(4) + 5])  # Softmax does not see a shift; energy does.
    assert maximum_softmax(logits + 5) == pytest.approx([0.75])


@pytest.mark.parametrize("k", [1, 7, 500])
def test_neighbours_are_scikit_learns(k):
    rng = np.random.default_rng(0)
    bank, features = rng.normal(size=(60, 8)), rng.normal(size=(20, 8))

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    reference = NearestNeighbors(n_neighbors=min(k, 60)).fit(unit(bank)).kneighbors(unit(features))[0][:, -1]
    np.testing.assert_allclose(-nearest_neighbour(features, bank, k), reference, atol=1e-5)


def test_mahalanobis_is_scikit_learns_but_for_the_shrinkage():
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=300)
    bank = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) + 5 * targets[:, None]
    features = rng.normal(size=(20, 4)) * 6
    means = np.stack([bank[targets == c].mean(axis=0) for c in range(3)])
    shared = EmpiricalCovariance(assume_centered=True).fit(bank - means[targets])
    expected = np.min([shared.mahalanobis(features - mean) for mean in means], axis=0)
    np.testing.assert_allclose(-mahalanobis(features, bank, targets), expected, rtol=0.15)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_mahalanobis_orders_images_alike_under_scaling_and_shifts(seed, scale):
    rng = np.random.default_rng(seed)
    targets = np.arange(40) % 2
    bank, features = rng.normal(size=(40, 3)) + 3 * targets[:, None], rng.normal(size=(10, 3))
    before = mahalanobis(features, bank, targets)
    after = mahalanobis(scale * features + 7, scale * bank + 7, targets)
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_constant_feature_does_not_divide_by_zero():
    bank = np.zeros((10, 3))
    assert np.isfinite(mahalanobis(bank, bank, np.arange(10) % 2)).all()
