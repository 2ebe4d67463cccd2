"""Exact nearest neighbours: tiled distances with a running top-k, then every k and weighting at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int

from raybench.core.records import HparamValue

QUERY_ROWS = 1024
TRAIN_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The k nearest training examples of each query, nearest first; ties by the smaller training index."""

    squared_distances: Float[torch.Tensor, "q k"]
    """Euclidean, float64."""
    indices: Int[torch.Tensor, "q k"]


def nearest(
    queries: Float[torch.Tensor, "q d"], train: Float[torch.Tensor, "n d"], k: int
) -> Iterator[Neighbours]:
    """The exact min(k, n) nearest of every query, block of queries by block, in order.

    Distances are ‖x‖² − 2·q·x + ‖q‖² in float64, as scikit-learn's brute force upcasts too: in float32 two
    neighbours a millionth apart change places. Memory is one tile [1024, 8192], never q × n.
    """
    k = min(k, len(train))
    for start in range(0, len(queries), QUERY_ROWS):
        yield _nearest_of_block(queries[start : start + QUERY_ROWS].double(), train, k)


def _nearest_of_block(block: torch.Tensor, train: torch.Tensor, k: int) -> Neighbours:
    best = torch.empty(len(block), 0, dtype=torch.float64, device=block.device)
    where = torch.empty(len(block), 0, dtype=torch.int64, device=block.device)
    for start in range(0, len(train), TRAIN_ROWS):
        tile = train[start : start + TRAIN_ROWS].double()
        distances = torch.addmm(tile.square().sum(dim=1)[None, :], block, tile.T, alpha=-2)
        values, columns = _smallest(distances, k)
        # Earlier tiles hold the smaller indices and stand first, so a stable sort keeps ties in order.
        best, order = torch.cat([best, values], dim=1).sort(dim=1, stable=True)
        where = torch.cat([where, columns + start], dim=1).gather(1, order)[:, :k]
        best = best[:, :k]
    squared = best + block.square().sum(dim=1, keepdim=True)
    return Neighbours(squared_distances=squared.clamp_(min=0.0), indices=where)


def _smallest(distances: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The min(k, columns) smallest of each row and their columns, ordered by (value, column).

    `topk` keeps any of several equal values; rows with a tie across the k-th place are sorted outright.
    """
    num_columns = distances.shape[1]
    if k >= num_columns:
        return distances.sort(dim=1, stable=True)
    values, columns = distances.topk(k + 1, dim=1, largest=False, sorted=True)
    tied = values[:, k] == values[:, k - 1]
    columns = columns[:, :k].sort(dim=1).values
    if tied.any():
        columns[tied] = distances[tied].sort(dim=1, stable=True).indices[:, :k].sort(dim=1).values
    values, order = distances.gather(1, columns).sort(dim=1, stable=True)
    return values, columns.gather(1, order)


def vote_shares(
    found: Neighbours,
    labels: Int[torch.Tensor, "q k"],
    cells: Sequence[Mapping[str, HparamValue]],
    *,
    num_classes: int,
    spread: float,
) -> Float[torch.Tensor, "q m c"]:
    """Share of the vote that each class gets, for every cell (`k`, `weighting`); rows sum to 1.

    `weighting` is `uniform` (each neighbour one vote) or a temperature T: a neighbour at squared distance D
    votes with exp(−D / (T · spread)). On l2-normalised features with spread 2 this is DINO's exp(cosine / T).

    Args:
        found: neighbours of q queries.
        labels: their class ids, shape [q, k].
        cells: what to compute; a k beyond the number of neighbours means all of them.
        spread: the squared distance that T = 1 stands for.

    Source: Wu et al., "Unsupervised Feature Learning via Non-parametric Instance Discrimination", CVPR 2018;
    DINO `eval_knn.py`.
    """
    num_queries, num_found = labels.shape
    shares = torch.empty(num_queries, len(cells), num_classes, dtype=torch.float64, device=labels.device)
    for weighting in dict.fromkeys(cell["weighting"] for cell in cells):
        members = [i for i, cell in enumerate(cells) if cell["weighting"] == weighting]
        weights = _weights(found.squared_distances, weighting, spread)
        votes = torch.zeros(num_queries, num_classes, dtype=torch.float64, device=labels.device)
        done = 0
        for i in sorted(members, key=lambda i: int(cells[i]["k"])):
            k = min(int(cells[i]["k"]), num_found)
            votes.scatter_add_(1, labels[:, done:k], weights[:, done:k])
            done = k
            shares[:, i] = votes / weights[:, :k].sum(dim=1, keepdim=True)
    return shares


def _weights(squared_distances: torch.Tensor, weighting: HparamValue, spread: float) -> torch.Tensor:
    if weighting == "uniform":
        return torch.ones_like(squared_distances)
    # Relative to the nearest, whose weight is 1: no temperature can make all weights underflow.
    return (-(squared_distances - squared_distances[:, :1]) / (float(weighting) * spread)).exp()


def smoothed_logits(shares: Float[torch.Tensor, "q m c"], ks: Float[torch.Tensor, " m"]) -> torch.Tensor:
    """Log of the vote shares after one more neighbour has voted for every class alike, float32.

    (k·share + 1/c) / (k + 1): finite for classes without a vote, and the order of the classes stays.
    """
    k = ks[None, :, None]
    return ((shares * k + 1.0 / shares.shape[2]) / (k + 1.0)).log().float()
