"""Exact ranks of each query's positives, without sorting the gallery.

Images are ordered as in `exact_search`: by similarity, ties by the smaller gallery index. Similarity and
index together form one integer key per image, all different, so every machine that rounds alike gives the
same ranks.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.data.ground_truth import GroundTruth
from raybench.evaluation.exact_search import QUERY_ROWS, Similarity, similarity_tiles

STRIP_SIZE = 2**24
"""Similarities (queries of a strip × gallery) held at a time: 64 MiB in float32."""
INDEX_SPAN = 2**32


def ranks_of_positives(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    truth: GroundTruth,
    similarity: Similarity,
) -> Iterator[Int[np.ndarray, " p"]]:
    """For every query, in order: the ranks of its positives from 0, ascending, with junk removed."""
    start = 0
    for strip in similarity_strips(queries, gallery, similarity):
        yield from ranks_in(strip, truth, first_query=start)
        start += len(strip)


def similarity_strips(
    queries: Float[torch.Tensor, "q d"], gallery: Float[torch.Tensor, "n d"], similarity: Similarity
) -> Iterator[Float[torch.Tensor, "b n"]]:
    """Similarities to the whole gallery, at most STRIP_SIZE or one query at a time, in order."""
    num_queries = max(1, min(QUERY_ROWS, STRIP_SIZE // max(1, len(gallery))))
    for start in range(0, len(queries), num_queries):
        block = similarity.prepare(queries[start : start + num_queries])
        yield torch.cat([tile for _, tile in similarity_tiles(block, gallery, similarity)], dim=1)


def ranks_in(
    similarities: Float[torch.Tensor, "b n"], truth: GroundTruth, *, first_query: int = 0
) -> Iterator[Int[np.ndarray, " p"]]:
    """`ranks_of_positives` from the similarities of queries first_query, first_query + 1, …

    Only positives and junk are sorted: a rank is the number of gallery images with a larger key.
    """
    for row, line in enumerate(similarities):
        keys = sort_keys(line)
        positive = torch.from_numpy(np.array(truth.positives(first_query + row))).to(keys.device)
        junk = torch.from_numpy(np.array(truth.junk(first_query + row))).to(keys.device)
        positive_keys, junk_keys = keys[positive].sort().values, keys[junk].sort().values
        # How many positives each image beats; a positive's rank is the number of images that beat it.
        num_beaten = torch.searchsorted(positive_keys, keys)
        counts = torch.bincount(num_beaten, minlength=len(positive_keys) + 1)
        ranks = counts.flip(0).cumsum(0).flip(0)[1:]
        ranks = ranks - (len(junk_keys) - torch.searchsorted(junk_keys, positive_keys))
        yield ranks.flip(0).cpu().numpy()


def sort_keys(similarities: Float[torch.Tensor, " n"]) -> Int[torch.Tensor, " n"]:
    """One integer per image, larger for higher similarities and, among equal ones, for smaller indices.

    >>> sort_keys(torch.tensor([0.5, 2.0, 0.5, -1.0])).argsort(descending=True).tolist()
    [1, 0, 2, 3]
    """
    bits = (similarities.float() + 0.0).view(torch.int32)  # + 0.0 makes −0.0 and 0.0 one number.
    ordered = torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF).long()
    return ordered * INDEX_SPAN + (INDEX_SPAN - 1 - torch.arange(len(similarities), device=bits.device))
