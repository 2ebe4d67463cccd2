"""Exact search: tiled matrix products, a running top-k, and the exact ranks of given images.

A score is a similarity (higher is nearer), computed in float64 (or float32) and rounded to float32; of
equal scores the smaller gallery index stands first. Score and index together form one integer key per image,
different for all, so that every order below is the same on every machine that rounds alike.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.core.errors import DivergedError
from raybench.data.ground_truth import GroundTruth

Distance = Literal["cosine", "euclidean", "dot"]
QUERY_ROWS = 1024
GALLERY_ROWS = 8192
STRIP_NUMBERS = 2**24
"""Scores (queries of a block × gallery) that ranking holds at a time: 64 MiB in float32."""
INDEX_SPAN = 2**32


def top_k(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    k: int,
    *,
    distance: Distance = "cosine",
    precision: torch.dtype = torch.float64,
) -> tuple[Float[torch.Tensor, "q k"], Int[torch.Tensor, "q k"]]:
    """Scores and gallery indices of the min(k, n) best of every query, best first.

    Args:
        queries: any floating type; float16 is converted tile by tile.
        gallery: of the same width; may be a memory map, of which one tile is copied at a time.
        distance: `cosine` (cosine of the angle), `euclidean` (−‖q − x‖² / 2) or `dot`.
        precision: of the products; float32 is twice as fast on a CPU and leaves near ties to rounding.

    Raises:
        DivergedError: if a score is NaN.
    """
    k = min(k, len(gallery))
    scores = torch.empty(len(queries), k, dtype=torch.float32, device=queries.device)
    indices = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    for start in range(0, len(queries), QUERY_ROWS):
        rows = slice(start, start + QUERY_ROWS)
        block = _prepared(queries[rows], distance, precision)
        best = torch.empty(len(block), 0, dtype=torch.float32, device=queries.device)
        where = torch.empty(len(block), 0, dtype=torch.int64, device=queries.device)
        for first, tile in _score_tiles(block, gallery, distance, precision):
            values, columns = _largest(tile, k)
            # Earlier tiles hold the smaller indices and stand first, so a stable sort keeps ties in order.
            best, order = torch.cat([best, values], 1).sort(dim=1, descending=True, stable=True)
            where = torch.cat([where, columns + first], 1).gather(1, order)[:, :k]
            best = best[:, :k]
        scores[rows], indices[rows] = best, where
    return scores, indices


def ranks_of_positives(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    truth: GroundTruth,
    *,
    distance: Distance = "cosine",
    precision: torch.dtype = torch.float64,
) -> Iterator[Int[np.ndarray, " p"]]:
    """For every query, in order: the places of its positives from 0, ascending, junk removed.

    Nothing is sorted but positives and junk: a place is the number of gallery images with a larger key.
    """
    start = 0
    for scores in strips_of_scores(queries, gallery, distance=distance, precision=precision):
        yield from ranks_in(scores, truth, first_query=start)
        start += len(scores)


def strips_of_scores(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    *,
    distance: Distance = "cosine",
    precision: torch.dtype = torch.float64,
) -> Iterator[Float[torch.Tensor, "b n"]]:
    """All scores, some queries at a time, in order: STRIP_NUMBERS of them at most, or one query."""
    strip = max(1, min(QUERY_ROWS, STRIP_NUMBERS // max(1, len(gallery))))
    for start in range(0, len(queries), strip):
        block = _prepared(queries[start : start + strip], distance, precision)
        yield torch.cat([tile for _, tile in _score_tiles(block, gallery, distance, precision)], dim=1)


def ranks_in(
    scores: Float[torch.Tensor, "b n"], truth: GroundTruth, *, first_query: int = 0
) -> Iterator[Int[np.ndarray, " p"]]:
    """The same from given scores of the queries first_query, first_query + 1, …"""
    for row, line in enumerate(scores):
        keys = sort_keys(line)
        positive = torch.from_numpy(np.array(truth.positives(first_query + row))).to(keys.device)
        junk = torch.from_numpy(np.array(truth.junk(first_query + row))).to(keys.device)
        asked, unwanted = keys[positive].sort().values, keys[junk].sort().values
        # How many positives each image beats; a positive's place is the number of images that beat it.
        beaten = torch.bincount(torch.searchsorted(asked, keys), minlength=len(asked) + 1)
        ranks = beaten.flip(0).cumsum(0).flip(0)[1:]
        ranks = ranks - (len(unwanted) - torch.searchsorted(unwanted, asked))
        yield ranks.flip(0).cpu().numpy()


def sort_keys(scores: Float[torch.Tensor, " n"]) -> Int[torch.Tensor, " n"]:
    """One integer per score, larger for better scores and, among equal ones, for smaller indices.

    >>> sort_keys(torch.tensor([0.5, 2.0, 0.5, -1.0])).argsort(descending=True).tolist()
    [1, 0, 2, 3]
    """
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0 makes −0.0 and 0.0 one number.
    ordered = torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF).long()
    return ordered * INDEX_SPAN + (INDEX_SPAN - 1 - torch.arange(len(scores), device=scores.device))


def _prepared(rows: torch.Tensor, distance: Distance, precision: torch.dtype) -> torch.Tensor:
    rows = rows.to(precision)
    return rows / rows.norm(dim=1, keepdim=True).clamp_(min=1e-12) if distance == "cosine" else rows


def _score_tiles(
    block: torch.Tensor, gallery: torch.Tensor, distance: Distance, precision: torch.dtype
) -> Iterator[tuple[int, torch.Tensor]]:
    """(first gallery index, scores [b, t] float32) of tile after tile."""
    for first in range(0, len(gallery), GALLERY_ROWS):
        tile = _prepared(gallery[first : first + GALLERY_ROWS].to(block.device), distance, precision)
        scores = block @ tile.T
        if distance == "euclidean":
            scores -= tile.square().sum(dim=1)[None, :] / 2
            scores -= block.square().sum(dim=1)[:, None] / 2
        if scores.isnan().any():
            raise DivergedError(
                "retrieval met features that are NaN; the backbone or the whitening produced them."
            )
        yield first, scores.float()


def _largest(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The min(k, t) largest of each row and their columns, ordered by (value, smaller column first).

    `topk` keeps any of several equal values; rows with a tie across the k-th place are sorted outright.
    """
    if k >= scores.shape[1]:
        return scores.sort(dim=1, descending=True, stable=True)
    values, columns = scores.topk(k + 1, dim=1)
    tied = values[:, k] == values[:, k - 1]
    columns = columns[:, :k].sort(dim=1).values
    if tied.any():
        ordered = scores[tied].sort(dim=1, descending=True, stable=True).indices
        columns[tied] = ordered[:, :k].sort(dim=1).values
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)
