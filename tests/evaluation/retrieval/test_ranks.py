"""Ranks of positives: equal to sorting everything, with ties, junk and several tiles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.data.ground_truth import ClassTruth, ListedTruth
from raybench.evaluation import exact_search
from raybench.evaluation.exact_search import RoundedSimilarity
from raybench.evaluation.retrieval import ranks
from raybench.evaluation.retrieval.ranks import ranks_of_positives

DISTANCES = ["cosine", "euclidean", "dot"]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(ranks, "QUERY_ROWS", 5)
    monkeypatch.setattr(exact_search, "GALLERY_ROWS", 7)
    monkeypatch.setattr(ranks, "STRIP_SIZE", 100)


def drawn(seed, num_queries=13, num_gallery=40, d=4, whole=False):
    """Random features; whole numbers in a small range, with many exact ties, where `whole`."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(num_queries + num_gallery, d))
    rows = np.round(rows) if whole else rows
    return torch.from_numpy(rows[:num_queries]).float(), torch.from_numpy(rows[num_queries:]).float()


def brute_scores(queries, gallery, distance):
    q, x = queries.double().numpy(), gallery.double().numpy()
    if distance == "cosine":
        q = q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    if distance == "euclidean":
        return (-np.square(q[:, None] - x[None]).sum(2) / 2).astype(np.float32)
    return (q @ x.T).astype(np.float32)


def brute_order(queries, gallery, distance):
    scores = brute_scores(queries, gallery, distance)
    return np.stack([np.lexsort((np.arange(len(gallery)), -row)) for row in scores])


def brute_ranks(order, positives, junk):
    kept = [i for i in order if i not in set(junk)]
    return sorted(kept.index(i) for i in positives)


@given(st.integers(0, 10_000), st.sampled_from(["euclidean", "dot"]), st.booleans())
@settings(deadline=None, max_examples=40)
def test_ranks_equal_a_full_sort_with_ties_and_junk(seed, distance, whole):
    queries, gallery = drawn(seed, num_queries=6, whole=whole)
    random = np.random.default_rng(seed)
    parts = [np.split(random.permutation(40), [random.integers(0, 8), 12]) for _ in range(6)]
    truth = ListedTruth([part[0] for part in parts], [part[1] for part in parts])
    order = brute_order(queries, gallery, distance)
    for i, places in enumerate(ranks_of_positives(queries, gallery, truth, RoundedSimilarity(distance))):
        assert places.tolist() == brute_ranks(order[i].tolist(), truth.positives(i), truth.junk(i))


@given(st.integers(0, 10_000), st.floats(0.01, 100))
@settings(deadline=None, max_examples=20)
def test_cosine_ranks_do_not_change_with_scale(seed, scale):
    queries, gallery = drawn(seed)
    labels = np.random.default_rng(seed).integers(0, 3, size=53)
    truth = ClassTruth(labels[:13], labels[13:])
    plain = [r.tolist() for r in ranks_of_positives(queries, gallery, truth, RoundedSimilarity())]
    scaled = [
        r.tolist() for r in ranks_of_positives(queries.double() * scale, gallery, truth, RoundedSimilarity())
    ]
    assert plain == scaled


@given(st.integers(0, 10_000), st.sampled_from(DISTANCES))
@settings(deadline=None, max_examples=20)
def test_ranks_do_not_change_when_the_gallery_is_permuted(seed, distance):
    queries, gallery = drawn(seed)
    random = np.random.default_rng(seed)
    labels, order = random.integers(0, 3, size=53), random.permutation(40)
    before = ranks_of_positives(
        queries, gallery, ClassTruth(labels[:13], labels[13:]), RoundedSimilarity(distance)
    )
    after = ranks_of_positives(
        queries, gallery[order], ClassTruth(labels[:13], labels[13:][order]), RoundedSimilarity(distance)
    )
    assert [r.tolist() for r in before] == [r.tolist() for r in after]


def test_left_out_queries_do_not_find_themselves():
    _, gallery = drawn(3)
    truth = ClassTruth(np.zeros(40, int), np.zeros(40, int), self_indices=np.arange(40))
    for places in ranks_of_positives(gallery, gallery, truth, RoundedSimilarity()):
        assert places.tolist() == list(range(39))
