"""Query expansion: each query moves towards its nearest gallery images."""

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.evaluation.exact_search import Distance, RoundedSimilarity, nearest
from raybench.evaluation.retrieval.whitening import unit_rows


def expanded_queries(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    num_neighbours: int,
    power: float,
    *,
    distance: Distance = "cosine",
    self_indices: Int[np.ndarray, " q"] | None = None,
) -> Float[torch.Tensor, "q d"]:
    """Each query replaced by the mean of itself (weight 1) and its nearest gallery images.

    A neighbour's weight is max(cosine, 0) ** power: power 0 is average query expansion, 3 the usual α. With
    the cosine distance, queries and neighbours are scaled to unit length first, and so is the result; other
    distances depend on length, so there the rows are averaged as they are.

    Args:
        num_neighbours: 0 returns the queries unchanged.
        power: exponent of the weights.
        distance: what makes an image near.
        self_indices: each query's own gallery index, which is not a neighbour (leave-one-out).

    Source: Chum et al., "Total Recall", ICCV 2007; Radenović et al., "Fine-tuning CNN image retrieval with no
    human annotation", TPAMI 2018 (α).
    """
    if num_neighbours == 0:
        return queries
    k = num_neighbours + (self_indices is not None)
    is_cosine = distance == "cosine"
    result = torch.empty_like(queries)
    for row, indices in enumerate(nearest(queries, gallery, k, RoundedSimilarity(distance)).indices):
        if self_indices is not None:
            indices = indices[indices != int(self_indices[row])][:num_neighbours]
        query, neighbours = queries[row], gallery[indices]
        cosines = unit_rows(neighbours) @ unit_rows(query[None])[0]
        weights = cosines.clamp(min=0.0) ** power
        if is_cosine:
            query, neighbours = unit_rows(query[None])[0], unit_rows(neighbours)
        mean = (query + (weights[:, None] * neighbours).sum(dim=0)) / (1.0 + weights.sum())
        result[row] = unit_rows(mean[None])[0] if is_cosine else mean
    return result
