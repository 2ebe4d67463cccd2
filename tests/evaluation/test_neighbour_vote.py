import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from raybench.evaluation.exact_search import nearest
from raybench.evaluation.neighbour_vote import (
    EuclideanOrder,
    smoothed_logits,
    squared_distances,
    vote_shares,
)


def drawn(seed, num=300, num_features=12):
    return np.random.default_rng(seed).normal(size=(num, num_features)).astype(np.float32)


def shares_for(queries, train, labels, cells, spread=2.0):
    queries = torch.tensor(queries)
    found = nearest(queries, torch.tensor(train), max(int(c["k"]) for c in cells), EuclideanOrder())
    return vote_shares(
        squared_distances(found, queries),
        torch.tensor(labels)[found.indices],
        cells,
        num_classes=int(labels.max()) + 1,
        spread=spread,
    ).numpy()


@pytest.mark.parametrize("seed", range(3))
def test_every_k_gives_scikit_learns_probabilities(seed):
    train, queries = drawn(seed), drawn(seed + 10, 80)
    labels = np.random.default_rng(seed).integers(6, size=len(train))
    labels[:6] = range(6)
    cells = [{"k": k, "weighting": "uniform"} for k in (20, 1, 3, 7, 200)]
    shares = shares_for(queries, train, labels, cells)
    for i, cell in enumerate(cells):
        reference = KNeighborsClassifier(n_neighbors=cell["k"], algorithm="brute").fit(train, labels)
        np.testing.assert_array_equal(shares[:, i], reference.predict_proba(queries))
        np.testing.assert_array_equal(shares[:, i].argmax(axis=1), reference.predict(queries))


@pytest.mark.parametrize("temperature", [0.02, 0.07, 0.5])
def test_on_the_sphere_temperatures_are_dinos(temperature):
    train, queries = drawn(0), drawn(1, 40)
    train, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, queries))
    labels = np.random.default_rng(0).integers(4, size=len(train))
    found = shares_for(queries, train, labels, [{"k": 20, "weighting": temperature}])[:, 0]
    cosine = queries.astype(np.float64) @ train.T.astype(np.float64)
    for row, similarity in enumerate(cosine):
        top = np.argsort(-similarity)[:20]
        votes = np.bincount(labels[top], np.exp(similarity[top] / temperature), minlength=4)
        np.testing.assert_allclose(found[row], votes / votes.sum(), rtol=1e-5, atol=1e-9)


def test_a_very_high_temperature_is_a_plain_vote():
    train, labels = drawn(0), np.random.default_rng(0).integers(3, size=300)
    cells = [{"k": 9, "weighting": "uniform"}, {"k": 9, "weighting": 1e9}]
    shares = shares_for(drawn(1, 20), train, labels, cells)
    np.testing.assert_allclose(shares[:, 0], shares[:, 1], atol=1e-6)


def test_far_neighbours_cannot_make_all_weights_vanish():
    far = np.array([[1e4, 0.0], [2e4, 0.0]], np.float32)
    shares = shares_for(np.zeros((1, 2), np.float32), far, np.array([1, 0]), [{"k": 2, "weighting": 0.02}])
    assert shares.tolist() == [[[0.0, 1.0]]]


def test_logits_are_finite_and_keep_the_order_of_the_shares():
    shares = torch.tensor([[[0.0, 0.6, 0.4, 0.0]]], dtype=torch.float64)
    found = smoothed_logits(shares, torch.tensor([5.0], dtype=torch.float64))[0, 0]
    assert bool(torch.isfinite(found).all())
    assert found.exp().sum().item() == pytest.approx(1.0, abs=1e-6)
    assert found.argsort(descending=True, stable=True).tolist() == [1, 2, 0, 3]
    # Five votes and one spread evenly over four classes: (3 + 1/4) / 6.
    assert found[1].exp().item() == pytest.approx(3.25 / 6)
