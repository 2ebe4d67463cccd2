"""What changes a ranking after the first search."""

import torch
from jaxtyping import Float, Int

from raybench.evaluation.retrieval.search import Distance, top_k
from raybench.evaluation.retrieval.whitening import unit_rows


def expanded_queries(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    num_neighbours: int,
    power: float,
    *,
    distance: Distance = "cosine",
    own: Int[torch.Tensor, " q"] | None = None,
) -> Float[torch.Tensor, "q d"]:
    """Each query replaced by the mean of itself (weight 1) and its nearest gallery images.

    A neighbour's weight is max(cosine, 0) ** power: power 0 is average query expansion, 3 the usual α. All
    are brought to unit length first, and the result too, unless `distance` depends on length: then neighbours
    are averaged as they are.

    Args:
        num_neighbours: 0 returns the queries unchanged.
        own: each query's own gallery index, which is not a neighbour (leave-one-out).

    Source: Chum et al., "Total Recall", ICCV 2007; Radenović et al., "Fine-tuning CNN image retrieval with no
    human annotation", TPAMI 2018 (α).
    """
    if num_neighbours == 0:
        return queries
    _, found = top_k(queries, gallery, num_neighbours + (own is not None), distance=distance)
    is_cosine = distance == "cosine"
    result = torch.empty_like(queries)
    for row, indices in enumerate(found):
        if own is not None:
            indices = indices[indices != own[row]][:num_neighbours]
        query, near = queries[row], gallery[indices]
        cosines = unit_rows(near) @ unit_rows(query[None])[0]
        weights = cosines.clamp(min=0.0) ** power
        if is_cosine:
            query, near = unit_rows(query[None])[0], unit_rows(near)
        mean = (query + (weights[:, None] * near).sum(dim=0)) / (1.0 + weights.sum())
        result[row] = unit_rows(mean[None])[0] if is_cosine else mean
    return result
