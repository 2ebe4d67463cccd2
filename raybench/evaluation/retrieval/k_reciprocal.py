"""k-reciprocal re-ranking: images are near if each is among the other's nearest neighbours.

Every image gets a sparse encoding of its k-reciprocal neighbours. Its distance to a query becomes the Jaccard
distance of their encodings, mixed with the original distance.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse

from raybench.core.errors import EmptyInputError
from raybench.data.ground_truth import GroundTruth
from raybench.evaluation.exact_search import RoundedSimilarity, nearest
from raybench.evaluation.retrieval.ranks import ranks_in, similarity_strips

K2 = 6
"""Nearest images over which encodings are averaged."""
ORIGINAL_WEIGHT = 0.3
"""Share of the original distance in the final one."""
EUCLIDEAN = RoundedSimilarity("euclidean")

NearestImages = Int[np.ndarray, "m k"]


def reranked_ranks(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    truth: GroundTruth,
    k1: int,
    *,
    k2: int = K2,
    original_weight: float = ORIGINAL_WEIGHT,
    self_indices: Int[np.ndarray, " q"] | None = None,
) -> Iterator[Int[np.ndarray, " p"]]:
    """`ranks_of_positives` after re-ranking.

    Distances are squared Euclidean, divided by each image's largest, whatever the first search used; on unit
    vectors all distances order alike. Queries and gallery are joined (one copy of both), as the authors do,
    so queries are neighbours of one another. Additional memory: k1 numbers per image, the sparse encodings,
    strips of similarities.

    Args:
        queries: what is searched for.
        gallery: what is searched.
        truth: positives and junk.
        k1: neighbours that have to be mutual; 20 in the paper. At least 1.
        k2: nearest images over which encodings are averaged.
        original_weight: share of the original distance.
        self_indices: each query's own gallery index (leave-one-out); then queries are not joined again.

    Raises:
        EmptyInputError: if all images are equal.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, and the
    authors' `re_ranking_ranklist.py`; k2 = 6 and weight 0.3 are theirs.
    """
    images = gallery if self_indices is not None else torch.cat([queries, gallery])
    positions = self_indices if self_indices is not None else np.arange(len(queries))
    num_before = len(images) - len(gallery)
    neighbours = nearest(images, images, max(k1 + 1, k2), EUCLIDEAN).indices.cpu().numpy()
    scale = _largest_distances(images)
    if not (scale > 0).all():
        raise EmptyInputError("re-ranking met images that are all equal; they have no nearest ones.")
    encodings = _encodings(neighbours, images, scale, k1)
    if k2 > 1:
        encodings = _averaged(encodings, neighbours[:, :k2])
    by_column = encodings.tocsc()
    start = 0
    for strip in similarity_strips(queries, gallery, EUCLIDEAN):
        rows = positions[start : start + len(strip)]
        original = np.maximum(-2.0 * strip.double().cpu().numpy(), 0.0) / scale[rows][:, None]
        overlap = np.stack([_overlap(encodings, by_column, int(row))[num_before:] for row in rows])
        jaccard = 1.0 - overlap / (2.0 - overlap)
        final = (1.0 - original_weight) * jaccard + original_weight * original
        yield from ranks_in(torch.from_numpy(-final), truth, first_query=start)
        start += len(strip)


def _largest_distances(images: torch.Tensor) -> Float[np.ndarray, " m"]:
    """Every image's largest squared distance to another."""
    smallest = [strip.min(dim=1).values for strip in similarity_strips(images, images, EUCLIDEAN)]
    return -2.0 * torch.cat(smallest).double().cpu().numpy()


def _reciprocal(neighbours: NearestImages, image: int, k: int) -> Int[np.ndarray, " r"]:
    """The k + 1 nearest of `image`, itself among them, that have `image` among their k + 1 nearest."""
    forward = neighbours[image, : k + 1]
    return forward[(neighbours[forward, : k + 1] == image).any(axis=1)]


def _encodings(
    neighbours: NearestImages, images: torch.Tensor, scale: Float[np.ndarray, " m"], k1: int
) -> sparse.csr_matrix:
    """One row per image: weights exp(−distance) of its expanded k-reciprocal neighbours, sum 1."""
    columns, weights, starts = [], [], [0]
    for image in range(len(neighbours)):
        reciprocal = _reciprocal(neighbours, image, k1)
        expanded = [reciprocal]
        for candidate in reciprocal:
            others = _reciprocal(neighbours, int(candidate), round(k1 / 2))
            if 3 * np.isin(others, reciprocal).sum() > 2 * len(others):
                expanded.append(others)
        members = np.unique(np.concatenate(expanded))
        squared = (images[members].double() - images[image].double()).square().sum(dim=1).cpu().numpy()
        weight = np.exp(-squared / scale[image])
        columns.append(members)
        weights.append(weight / weight.sum())
        starts.append(starts[-1] + len(members))
    shape = (len(neighbours), len(neighbours))
    return sparse.csr_matrix(
        (np.concatenate(weights), np.concatenate(columns), np.array(starts)), shape=shape
    )


def _averaged(encodings: sparse.csr_matrix, neighbours: NearestImages) -> sparse.csr_matrix:
    """Replace every encoding by the mean over the image's nearest images, itself included."""
    m, k = neighbours.shape
    starts = np.arange(0, m * k + 1, k)
    mean = sparse.csr_matrix((np.full(m * k, 1.0 / k), neighbours.ravel(), starts), shape=(m, m))
    return sparse.csr_matrix(mean @ encodings)


def _overlap(by_row: sparse.csr_matrix, by_column: sparse.csc_matrix, image: int) -> Float[np.ndarray, " m"]:
    """Sum of the element-wise minimum of `image`'s encoding and every image's."""
    total = np.zeros(by_row.shape[0])
    for entry in range(by_row.indptr[image], by_row.indptr[image + 1]):
        column, weight = by_row.indices[entry], by_row.data[entry]
        span = slice(by_column.indptr[column], by_column.indptr[column + 1])
        total[by_column.indices[span]] += np.minimum(by_column.data[span], weight)
    return total
