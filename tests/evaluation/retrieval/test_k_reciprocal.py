"""k-reciprocal re-ranking: equal to the authors' algorithm written out densely."""

import numpy as np
import pytest
import torch

from raybench.core.errors import EmptyInputError
from raybench.data.ground_truth import ClassTruth
from raybench.evaluation.exact_search import RoundedSimilarity
from raybench.evaluation.retrieval import ranks
from raybench.evaluation.retrieval.k_reciprocal import reranked_ranks


def dense_distances(queries, gallery, k1, k2, weight):
    """The authors' `re_ranking`, over the matrix of all distances, loops and all: final distance [q, n]."""
    rows = np.concatenate([queries, gallery]).astype(np.float64)
    original = np.square(rows[:, None] - rows[None]).sum(2)
    original = original / original.max(axis=1, keepdims=True)
    rank = np.argsort(original, axis=1, kind="stable")
    total = len(rows)

    def reciprocal(i, k):
        forward = rank[i, : k + 1]
        return [j for j in forward if i in rank[j, : k + 1]]

    described = np.zeros((total, total))
    for i in range(total):
        found = reciprocal(i, k1)
        expanded = set(found)
        for j in found:
            others = reciprocal(j, round(k1 / 2))
            if len(set(others) & set(found)) > 2 / 3 * len(others):
                expanded |= set(others)
        members = sorted(expanded)
        values = np.exp(-original[i, members])
        described[i, members] = values / values.sum()
    described = np.stack([described[rank[i, :k2]].mean(axis=0) for i in range(total)])
    smaller = np.minimum(described[:, None], described[None]).sum(2)
    jaccard = 1 - smaller / (2 - smaller)
    return ((1 - weight) * jaccard + weight * original)[: len(queries), len(queries) :]


def drawn(seed):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(60, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:12].astype(np.float32), rows[12:].astype(np.float32), random.integers(0, 4, 60)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (10, 1, 0.0), (5, 3, 0.8)])
def test_equals_the_dense_algorithm(monkeypatch, seed, k1, k2, weight):
    monkeypatch.setattr(ranks, "STRIP_SIZE", 240)  # Five queries at a time.
    queries, gallery, labels = drawn(seed)
    truth = ClassTruth(labels[:12], labels[12:])
    found = reranked_ranks(
        torch.from_numpy(queries), torch.from_numpy(gallery), truth, k1, k2=k2, original_weight=weight
    )
    expected = dense_distances(queries, gallery, k1, k2, weight).astype(np.float32)
    for i, places in enumerate(found):
        # Distances a rounding apart may change places: every positive's place lies among those of its peers.
        distances = expected[i, truth.positives(i)]
        low = np.sort([(expected[i] < value - 1e-6).sum() for value in distances])
        high = np.sort([(expected[i] <= value + 1e-6).sum() - 1 for value in distances])
        assert (low <= places).all()
        assert (places <= high).all()
        assert (low == high).mean() > 0.5 or weight == 0.0  # The comparison does compare.


def test_the_original_distance_alone_gives_the_original_ranking():
    queries, gallery, labels = drawn(9)
    truth = ClassTruth(labels[:12], labels[12:])
    parts = torch.from_numpy(queries), torch.from_numpy(gallery), truth
    again = reranked_ranks(*parts, 10, original_weight=1.0)
    plain = ranks.ranks_of_positives(*parts, RoundedSimilarity("euclidean"))
    assert [r.tolist() for r in again] == [r.tolist() for r in plain]


def test_leave_one_out_joins_nothing_twice():
    _, gallery, labels = drawn(3)
    own = np.arange(48)
    images = torch.from_numpy(gallery)
    truth = ClassTruth(labels[12:], labels[12:], own)
    found = list(reranked_ranks(images, images, truth, 10, self_indices=own))
    assert len(found) == 48
    assert all(places.max() < 47 for places in found if len(places))  # The query itself left the ranking.


def test_equal_images_are_refused():
    images = torch.ones(8, 3)
    truth = ClassTruth(np.zeros(4, int), np.zeros(4, int))
    with pytest.raises(EmptyInputError, match="all equal"):
        list(reranked_ranks(images[:4], images[4:], truth, 3))
