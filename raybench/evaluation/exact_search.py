"""Exact nearest-neighbour search, block by block: the one search behind every protocol and evaluator.

The kNN vote, retrieval, query expansion, re-ranking and the kNN score of OOD detection differ in their
`Similarity` only. Neighbours are ordered by similarity, ties by the smaller gallery index, whatever the block
sizes. One tile of similarities is held at a time, never q × n.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float, Int

from raybench.core.errors import DivergedError, EmptyInputError

QUERY_ROWS = 1024
GALLERY_ROWS = 8192

Distance = Literal["cosine", "euclidean", "dot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The k nearest gallery rows of each query, nearest first; ties by the smaller gallery index."""

    similarities: Float[torch.Tensor, "q k"]
    indices: Int[torch.Tensor, "q k"]


class Similarity(Protocol):
    """How near a query is to a gallery row; higher is nearer."""

    def prepare(self, rows: Float[torch.Tensor, "n d"]) -> Float[torch.Tensor, "n d"]:
        """Rows as `compare` takes them, e.g. in float64 or of unit length; called once per block."""
        ...

    def compare(
        self, queries: Float[torch.Tensor, "q d"], gallery: Float[torch.Tensor, "n d"]
    ) -> Float[torch.Tensor, "q n"]:
        """Similarity of every prepared query to every prepared gallery row."""
        ...


@dataclass(frozen=True, slots=True)
class RoundedSimilarity:
    """Cosine, dot product or −‖q − x‖² / 2 (`euclidean`), computed in `precision` and rounded to float32.

    float32 products are twice as fast on a CPU and leave near ties to rounding.
    """

    distance: Distance = "cosine"
    precision: torch.dtype = torch.float64

    def prepare(self, rows: Float[torch.Tensor, "n d"]) -> Float[torch.Tensor, "n d"]:
        """Convert to `precision`; unit length for the cosine."""
        rows = rows.to(self.precision)
        return rows / rows.norm(dim=1, keepdim=True).clamp_(min=1e-12) if self.distance == "cosine" else rows

    def compare(
        self, queries: Float[torch.Tensor, "q d"], gallery: Float[torch.Tensor, "n d"]
    ) -> Float[torch.Tensor, "q n"]:
        """Similarities, float32.

        Raises:
            DivergedError: if one is NaN.
        """
        similarities = queries @ gallery.T
        if self.distance == "euclidean":
            similarities -= gallery.square().sum(dim=1)[None, :] / 2
            similarities -= queries.square().sum(dim=1)[:, None] / 2
        if similarities.isnan().any():
            raise DivergedError(
                "retrieval met features that are NaN; the backbone or the whitening produced them."
            )
        return similarities.float()


def nearest(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    k: int,
    similarity: Similarity,
) -> Neighbours:
    """The exact min(k, n) nearest gallery rows of every query.

    Args:
        queries: any floating type.
        gallery: of the same width; may be a memory map, of which one block is copied at a time.
        k: at least 1.
        similarity: what makes a gallery row near.
    """
    blocks = list(nearest_blocks(queries, gallery, k, similarity))
    return Neighbours(
        similarities=torch.cat([block.similarities for block in blocks]),
        indices=torch.cat([block.indices for block in blocks]),
    )


def nearest_blocks(
    queries: Float[torch.Tensor, "q d"],
    gallery: Float[torch.Tensor, "n d"],
    k: int,
    similarity: Similarity,
) -> Iterator[Neighbours]:
    """`nearest` for QUERY_ROWS queries at a time, in order.

    Raises:
        EmptyInputError: if the gallery is empty.
    """
    if not len(gallery):
        raise EmptyInputError("nearest-neighbour search needs a gallery of at least one row.")
    k = min(k, len(gallery))
    for start in range(0, max(1, len(queries)), QUERY_ROWS):  # Without queries, one block of shape [0, k].
        block = similarity.prepare(queries[start : start + QUERY_ROWS])
        tiles = similarity_tiles(block, gallery, similarity)
        best, indices = _largest(next(tiles)[1], k)
        for first, tile in tiles:
            values, columns = _largest(tile, k)
            # Earlier tiles hold the smaller indices and come first, so a stable sort keeps ties in order.
            best, order = torch.cat([best, values], dim=1).sort(dim=1, descending=True, stable=True)
            indices = torch.cat([indices, columns + first], dim=1).gather(1, order)[:, :k]
            best = best[:, :k]
        yield Neighbours(similarities=best, indices=indices)


def similarity_tiles(
    block: Float[torch.Tensor, "b d"], gallery: Float[torch.Tensor, "n d"], similarity: Similarity
) -> Iterator[tuple[int, Float[torch.Tensor, "b t"]]]:
    """(First gallery index, similarities) of one tile after the other, for prepared queries."""
    for first in range(0, len(gallery), GALLERY_ROWS):
        rows = gallery[first : first + GALLERY_ROWS].to(block.device)
        yield first, similarity.compare(block, similarity.prepare(rows))


def _largest(
    similarities: Float[torch.Tensor, "b t"], k: int
) -> tuple[Float[torch.Tensor, "b k"], Int[torch.Tensor, "b k"]]:
    """The min(k, t) largest of each row and their columns, ordered by (value, smaller column first).

    `topk` keeps any of several equal values; rows with a tie across the k-th place are sorted outright.
    """
    if k >= similarities.shape[1]:
        return similarities.sort(dim=1, descending=True, stable=True)
    values, columns = similarities.topk(k + 1, dim=1)
    tied = values[:, k] == values[:, k - 1]
    columns = columns[:, :k].sort(dim=1).values
    if tied.any():
        ordered = similarities[tied].sort(dim=1, descending=True, stable=True).indices
        columns[tied] = ordered[:, :k].sort(dim=1).values
    values, order = similarities.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)
