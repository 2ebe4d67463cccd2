"""Query expansion by hand."""

import numpy as np
import pytest
import torch

from raybench.evaluation.retrieval.query_expansion import expanded_queries

GALLERY = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


def test_no_neighbours_changes_nothing():
    queries = torch.tensor([[2.0, 1.0]])
    assert expanded_queries(queries, GALLERY, 0, 3.0) is queries


def test_average_expansion_is_the_mean_of_query_and_neighbours():
    expanded = expanded_queries(torch.tensor([[0.6, 0.8]]), GALLERY, 2, 0.0, distance="dot")
    torch.testing.assert_close(expanded, torch.tensor([[1.6 / 3, 1.8 / 3]]))


def test_weights_are_powers_of_the_cosine():
    expanded = expanded_queries(torch.tensor([[0.6, 0.8]]), GALLERY, 1, 3.0, distance="dot")
    weight = 0.8**3
    torch.testing.assert_close(expanded, torch.tensor([[0.6, 0.8 + weight]]) / (1 + weight))


@pytest.mark.parametrize("distance", ["cosine", "dot"])
def test_a_query_is_not_its_own_neighbour(distance):
    expanded = expanded_queries(
        torch.tensor([[0.0, 1.0]]), GALLERY, 1, 0.0, distance=distance, self_indices=np.array([1])
    )
    assert expanded[0, 0] > 0  # Joined by image 0; by itself it would have stayed on its axis.
