import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from raybench.evaluation import neighbours
from raybench.evaluation.neighbours import nearest, smoothed_logits, vote_shares


def drawn(seed, num=300, num_features=12):
    return np.random.default_rng(seed).normal(size=(num, num_features)).astype(np.float32)


def found_for(queries, train, k):
    blocks = list(nearest(torch.tensor(queries), torch.tensor(train), k))
    return (
        torch.cat([b.squared_distances for b in blocks]).numpy(),
        torch.cat([b.indices for b in blocks]).numpy(),
    )


@pytest.fixture(params=[(1024, 8192), (64, 50), (7, 33)], ids=["one tile", "tiles", "ragged tiles"])
def tiles(request, monkeypatch):
    monkeypatch.setattr(neighbours, "QUERY_ROWS", request.param[0])
    monkeypatch.setattr(neighbours, "TRAIN_ROWS", request.param[1])


@pytest.mark.parametrize("k", [1, 5, 60, 300])
def test_neighbours_are_scikit_learns(tiles, k):
    train, queries = drawn(0), drawn(1, 90)
    reference = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(train.astype(np.float64))
    distances, indices = reference.kneighbors(queries.astype(np.float64))
    squared, found = found_for(queries, train, k)
    np.testing.assert_array_equal(found, indices)
    np.testing.assert_allclose(squared, distances**2, atol=1e-9)


def test_ties_go_to_the_smaller_training_index(tiles):
    # Forty copies of five points: every distance occurs forty times, across the tiles.
    train = np.tile(np.eye(5, dtype=np.float32), (40, 1))
    _, found = found_for(np.eye(5, dtype=np.float32), train, 12)
    expected = [[query + 5 * copy for copy in range(12)] for query in range(5)]
    assert found.tolist() == expected


def test_more_neighbours_than_examples_means_all_of_them():
    _, found = found_for(drawn(0, 3), drawn(1, 8), 50)
    assert [sorted(row) for row in found.tolist()] == [list(range(8))] * 3


def shares_for(queries, train, labels, cells, spread=2.0):
    (found,) = nearest(torch.tensor(queries), torch.tensor(train), max(int(c["k"]) for c in cells))
    votes = torch.tensor(labels)[found.indices]
    return vote_shares(found, votes, cells, num_classes=int(labels.max()) + 1, spread=spread).numpy()


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
