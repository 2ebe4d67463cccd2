"""Re-ranking by k-reciprocal neighbours: images that name each other among their nearest are near.

Every image is described by its k-reciprocal neighbours (kept sparse), and an image's distance to a query
becomes the Jaccard distance of these descriptions, mixed with the original one.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse

from raybench.core.errors import EmptyInputError
from raybench.data.ground_truth import GroundTruth
from raybench.evaluation.retrieval.search import ranks_in, strips_of_scores, top_k

K2 = 6
"""Nearest images over which descriptions are averaged."""
ORIGINAL_WEIGHT = 0.3
"""Share of the original distance in the final one."""

Neighbours = Int[np.ndarray, "m k"]


def reranked_ranks(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    truth: GroundTruth,
    k1: int,
    *,
    k2: int = K2,
    original_weight: float = ORIGINAL_WEIGHT,
    own: Int[np.ndarray, " q"] | None = None,
) -> Iterator[Int[np.ndarray, " p"]]:
    """As `ranks_of_positives`, after re-ranking.

    Distances are squared Euclidean, divided by each image's largest, whatever the search used; on unit
    vectors all orders agree. Queries and gallery are joined (one copy of both), as the authors do, so that
    queries help one another. Memory beyond that: k1 numbers an image, the sparse descriptions, and strips of
    scores.

    Args:
        k1: neighbours that have to name each other; 20 in the paper. At least 1.
        own: each query's own gallery index (leave-one-out); then queries are not counted a second time.

    Raises:
        EmptyInputError: if all images are equal.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, and the
    authors' `re_ranking_ranklist.py`; k2 = 6 and weight 0.3 are theirs.
    """
    images = gallery if own is not None else torch.cat([queries, gallery])
    places = own if own is not None else np.arange(len(queries))
    first = len(images) - len(gallery)
    nearest = top_k(images, images, max(k1 + 1, k2), distance="euclidean")[1].cpu().numpy()
    scale = _largest_distances(images)
    if not (scale > 0).all():
        raise EmptyInputError("re-ranking met images that are all equal; they have no nearest ones.")
    described = _descriptions(nearest, images, scale, k1)
    if k2 > 1:
        described = _averaged(described, nearest[:, :k2])
    by_column = described.tocsc()
    start = 0
    for scores in strips_of_scores(queries, gallery, distance="euclidean"):
        rows = places[start : start + len(scores)]
        original = np.maximum(-2.0 * scores.double().cpu().numpy(), 0.0) / scale[rows][:, None]
        overlap = np.stack([_overlap(described, by_column, int(row))[first:] for row in rows])
        jaccard = 1.0 - overlap / (2.0 - overlap)
        final = (1.0 - original_weight) * jaccard + original_weight * original
        yield from ranks_in(torch.from_numpy(-final), truth, first_query=start)
        start += len(scores)


def _largest_distances(images: torch.Tensor) -> Float[np.ndarray, " m"]:
    """Every image's largest squared distance to another."""
    strips = strips_of_scores(images, images, distance="euclidean")
    return -2.0 * torch.cat([strip.min(dim=1).values for strip in strips]).double().cpu().numpy()


def _reciprocal(nearest: Neighbours, image: int, k: int) -> Int[np.ndarray, " r"]:
    """The k + 1 nearest of `image` (itself among them) that have it among their own k + 1 nearest."""
    forward = nearest[image, : k + 1]
    return forward[(nearest[forward, : k + 1] == image).any(axis=1)]


def _descriptions(
    nearest: Neighbours,
    images: torch.Tensor,
    scale: Float[np.ndarray, " m"],
    k1: int,
) -> sparse.csr_matrix:
    """Row per image: weights exp(−distance) of its expanded k-reciprocal neighbours, sum 1."""
    columns, weights, starts = [], [], [0]
    for image in range(len(nearest)):
        found = _reciprocal(nearest, image, k1)
        expanded = [found]
        for candidate in found:
            others = _reciprocal(nearest, int(candidate), round(k1 / 2))
            if 3 * np.isin(others, found).sum() > 2 * len(others):
                expanded.append(others)
        members = np.unique(np.concatenate(expanded))
        apart = (images[members].double() - images[image].double()).square().sum(dim=1).cpu().numpy()
        weight = np.exp(-apart / scale[image])
        columns.append(members)
        weights.append(weight / weight.sum())
        starts.append(starts[-1] + len(members))
    shape = (len(nearest), len(nearest))
    return sparse.csr_matrix(
        (np.concatenate(weights), np.concatenate(columns), np.array(starts)), shape=shape
    )


def _averaged(described: sparse.csr_matrix, nearest: Neighbours) -> sparse.csr_matrix:
    """Every description replaced by the mean of those of its nearest images, itself among them."""
    m, k = nearest.shape
    starts = np.arange(0, m * k + 1, k)
    mean = sparse.csr_matrix((np.full(m * k, 1.0 / k), nearest.ravel(), starts), shape=(m, m))
    return sparse.csr_matrix(mean @ described)


def _overlap(by_row: sparse.csr_matrix, by_column: sparse.csc_matrix, image: int) -> Float[np.ndarray, " m"]:
    """Sum of the smaller weights of `image`'s description and every other's."""
    total = np.zeros(by_row.shape[0])
    for place in range(by_row.indptr[image], by_row.indptr[image + 1]):
        column, weight = by_row.indices[place], by_row.data[place]
        span = slice(by_column.indptr[column], by_column.indptr[column + 1])
        total[by_column.indices[span]] += np.minimum(by_column.data[span], weight)
    return total
