"""Exact search: equal to sorting everything, for every similarity, block size and tie."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from raybench.core.errors import DivergedError, EmptyInputError
from raybench.evaluation import exact_search
from raybench.evaluation.exact_search import RoundedSimilarity, nearest, nearest_blocks
from raybench.evaluation.neighbour_vote import EuclideanOrder, squared_distances
from raybench.evaluation.ood_scores import NumpyCosine

DISTANCES = ["cosine", "euclidean", "dot"]
EXACT = {
    "euclidean": RoundedSimilarity("euclidean"),
    "dot": RoundedSimilarity("dot"),
    "knn": EuclideanOrder(),
}
"""Similarities that are not rounded on small integers, so that ties are ties whatever the block sizes."""
NORMALISED = {"cosine": RoundedSimilarity("cosine"), "ood": NumpyCosine()}


@pytest.fixture(
    params=[(1024, 8192), (64, 50), (7, 33), (5, 7)], ids=["one tile", "tiles", "ragged", "small"]
)
def block_sizes(request, monkeypatch):
    monkeypatch.setattr(exact_search, "QUERY_ROWS", request.param[0])
    monkeypatch.setattr(exact_search, "GALLERY_ROWS", request.param[1])


def random_rows(seed, count=300, width=8, *, is_integer=False):
    """Normal deviates; `is_integer` rounds them, so that products are exact and many tie."""
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return torch.from_numpy(np.round(rows) if is_integer else rows).float()


def brute_force(queries, gallery, similarity):
    """(All similarities, order of each row: similarity descending, then index ascending)."""
    values = similarity.compare(similarity.prepare(queries), similarity.prepare(gallery)).numpy()
    return values, np.stack([np.lexsort((np.arange(len(gallery)), -row)) for row in values])


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("k", [1, 6, 33, 60, 400])
def test_it_is_the_head_of_the_full_ranking(block_sizes, name, k):
    queries, gallery = random_rows(1, 90, is_integer=True), random_rows(0, is_integer=True)
    found = nearest(queries, gallery, k, EXACT[name])
    values, order = brute_force(queries, gallery, EXACT[name])
    assert found.indices.tolist() == order[:, :k].tolist()
    np.testing.assert_array_equal(found.similarities, np.take_along_axis(values, order[:, :k], 1))


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize("k", [1, 6, 33, 400])
def test_with_unit_vectors_it_is_so_up_to_rounding(block_sizes, name, k):
    queries, gallery = random_rows(1, 90), random_rows(0)
    found = nearest(queries, gallery, k, NORMALISED[name])
    values, order = brute_force(queries, gallery, NORMALISED[name])
    expected = np.take_along_axis(values, order[:, :k], 1)
    np.testing.assert_allclose(found.similarities, expected, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(values, found.indices.numpy(), 1), expected, atol=1e-6)


def test_ties_across_tiles_go_to_the_smaller_index(block_sizes):
    # Forty copies of five points: every similarity occurs forty times.
    gallery = torch.eye(5).tile(40, 1)
    found = nearest(torch.eye(5), gallery, 12, EuclideanOrder())
    assert found.indices.tolist() == [[query + 5 * copy for copy in range(12)] for query in range(5)]


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([*EXACT.values()]))
@settings(deadline=None, max_examples=40)
def test_one_gallery_row_more_changes_no_other_neighbour(seed, k, similarity):
    queries, gallery = random_rows(seed, 6, 3, is_integer=True), random_rows(seed + 1, 40, 3, is_integer=True)
    before = nearest(queries, gallery[:-1], k, similarity).indices
    after = nearest(queries, gallery, k + 1, similarity).indices
    for row, others in zip(before.tolist(), after.tolist(), strict=True):
        assert [index for index in others if index != 39][:k] == row


@pytest.mark.parametrize("k", [1, 5, 60, 300])
def test_neighbours_and_distances_are_scikit_learns(block_sizes, k):
    train, queries = random_rows(0), random_rows(1, 90)
    reference = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(train.double().numpy())
    distances, indices = reference.kneighbors(queries.double().numpy())
    found = nearest(queries, train, k, EuclideanOrder())
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(squared_distances(found, queries), distances**2, atol=1e-9)


@pytest.mark.parametrize("distance", DISTANCES)
def test_similarities_are_those_of_float64_rounded(distance):
    queries, gallery = random_rows(2, 20), random_rows(3, 50)
    q, x = queries.double().numpy(), gallery.double().numpy()
    if distance == "cosine":
        q, x = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (q, x))
    expected = -np.square(q[:, None] - x[None]).sum(2) / 2 if distance == "euclidean" else q @ x.T
    found = brute_force(queries, gallery, RoundedSimilarity(distance))[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_more_neighbours_than_rows_means_all_of_them():
    found = nearest(random_rows(1, 3), random_rows(0, 8), 50, EuclideanOrder())
    assert [sorted(row) for row in found.indices.tolist()] == [list(range(8))] * 3


def test_blocks_come_in_the_order_of_the_queries(block_sizes):
    queries, gallery = random_rows(1, 90), random_rows(0)
    blocks = list(nearest_blocks(queries, gallery, 4, EuclideanOrder()))
    assert len(blocks) == -(-90 // exact_search.QUERY_ROWS)
    whole = nearest(queries, gallery, 4, EuclideanOrder()).indices
    assert torch.equal(torch.cat([block.indices for block in blocks]), whole)


def test_half_precision_features_are_searched_in_float64():
    queries, gallery = random_rows(4, 13, 4).half(), random_rows(5, 40, 4).half()
    found = nearest(queries, gallery, 5, RoundedSimilarity("cosine")).indices
    assert torch.equal(found, nearest(queries.double(), gallery.double(), 5, RoundedSimilarity()).indices)


def test_nan_features_are_refused():
    gallery = random_rows(5, 40)
    gallery[3, 0] = float("nan")
    with pytest.raises(DivergedError, match="NaN"):
        nearest(random_rows(6, 13), gallery, 3, RoundedSimilarity())


def test_an_empty_gallery_is_refused_and_no_queries_give_no_rows():
    with pytest.raises(EmptyInputError, match="a gallery of at least one row"):
        nearest(random_rows(0, 2), random_rows(0, 0), 1, EuclideanOrder())
    assert nearest(random_rows(0, 0), random_rows(0, 4), 3, EuclideanOrder()).indices.shape == (0, 3)
