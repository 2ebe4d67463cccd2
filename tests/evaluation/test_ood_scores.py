"""OOD scores, by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from raybench.evaluation.ood_scores import (
    energy_score,
    knn_score,
    mahalanobis_score,
    msp_score,
    neighbours_within_class,
)
from raybench.metrics.ood import auroc


def test_softmax_and_energy_by_hand():
    logits = np.log(np.array([[3.0, 1.0]]))
    assert msp_score(logits) == pytest.approx([0.75])
    assert energy_score(logits) == pytest.approx([np.log(4)])
    assert energy_score(logits + 5) == pytest.approx(
        [np.log(4) + 5]
    )  # Softmax does not see a shift; energy does.
    assert msp_score(logits + 5) == pytest.approx([0.75])


@pytest.mark.parametrize("k", [1, 7, 500])
def test_the_knn_score_is_scikit_learns_distance(k):
    rng = np.random.default_rng(0)
    train, features = rng.normal(size=(60, 8)), rng.normal(size=(20, 8))

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    reference = NearestNeighbors(n_neighbors=min(k, 60)).fit(unit(train)).kneighbors(unit(features))[0][:, -1]
    np.testing.assert_allclose(-knn_score(features, train, k), reference, atol=1e-5)


def test_mahalanobis_is_scikit_learns_but_for_the_shrinkage():
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=300)
    train = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) + 5 * targets[:, None]
    features = rng.normal(size=(20, 4)) * 6
    means = np.stack([train[targets == c].mean(axis=0) for c in range(3)])
    shared = EmpiricalCovariance(assume_centered=True).fit(train - means[targets])
    expected = np.min([shared.mahalanobis(features - mean) for mean in means], axis=0)
    np.testing.assert_allclose(-mahalanobis_score(features, train, targets), expected, rtol=0.15)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_mahalanobis_orders_images_alike_under_scaling_and_shifts(seed, scale):
    rng = np.random.default_rng(seed)
    targets = np.arange(40) % 2
    train, features = rng.normal(size=(40, 3)) + 3 * targets[:, None], rng.normal(size=(10, 3))
    before = mahalanobis_score(features, train, targets)
    after = mahalanobis_score(scale * features + 7, scale * train + 7, targets)
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_constant_feature_does_not_divide_by_zero():
    train = np.zeros((10, 3))
    assert np.isfinite(mahalanobis_score(train, train, np.arange(10) % 2)).all()


@pytest.mark.parametrize("size", [2, 5, 20, 60])
def test_the_neighbour_is_of_the_images_own_class_whatever_the_size_of_the_bank(size):
    """Six digits are known, four are not. The fixed k = 50 of earlier versions was of another class."""
    features, targets = load_digits(return_X_y=True)
    is_known = targets < 6
    bank = np.concatenate([np.flatnonzero(targets == c)[:size] for c in range(6)])
    inside = features[np.setdiff1d(np.flatnonzero(is_known), bank)]

    def area(k):
        scores = (knn_score(x.astype(np.float32), features[bank], k) for x in (inside, features[~is_known]))
        return auroc(*scores)

    k = neighbours_within_class(targets[bank])
    assert k == 1
    assert area(k) > max(0.8, area(50) + 0.15)


def test_the_smallest_class_decides():
    assert neighbours_within_class(np.repeat([0, 1, 2], [5000, 300, 5000])) == 3
