"""The kNN vote: class shares of the nearest training examples, for every k and weighting at once."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int

from raybench.core.records import HparamValue
from raybench.evaluation.exact_search import Neighbours


class EuclideanOrder:
    """2·q·x − ‖x‖² in float64: orders gallery rows by Euclidean distance, which is ‖q‖² minus it, squared.

    float64 as in scikit-learn's brute force: in float32 neighbours a millionth apart change places.
    """

    def prepare(self, rows: Float[torch.Tensor, "n d"]) -> Float[torch.Tensor, "n d"]:
        """Rows in float64."""
        return rows.double()

    def compare(
        self, queries: Float[torch.Tensor, "q d"], gallery: Float[torch.Tensor, "n d"]
    ) -> Float[torch.Tensor, "q n"]:
        """2·q·x − ‖x‖² of every query and gallery row."""
        return torch.addmm(gallery.square().sum(dim=1)[None, :], queries, gallery.T, beta=-1, alpha=2)


def squared_distances(
    neighbours: Neighbours, queries: Float[torch.Tensor, "q d"]
) -> Float[torch.Tensor, "q k"]:
    """Squared Euclidean distances, float64, of neighbours found by `EuclideanOrder` for these queries."""
    norms = queries.double().square().sum(dim=1, keepdim=True)
    return (norms - neighbours.similarities).clamp_(min=0.0)


def vote_shares(
    squared: Float[torch.Tensor, "q k"],
    labels: Int[torch.Tensor, "q k"],
    cells: Sequence[Mapping[str, HparamValue]],
    *,
    num_classes: int,
    spread: float,
) -> Float[torch.Tensor, "q m c"]:
    """Each class's share of the vote, for every cell (`k`, `weighting`); rows sum to 1.

    `weighting` is `uniform` (each neighbour one vote) or a temperature T: a neighbour at squared distance D
    votes with exp(−D / (T · spread)). On l2-normalised features with spread 2 this is DINO's exp(cosine / T).

    Args:
        squared: squared distances of each query's neighbours, nearest first.
        labels: class ids of the neighbours.
        cells: what to compute; a k beyond the number of neighbours means all of them.
        num_classes: c.
        spread: the squared distance at which T = 1 gives a weight of exp(−1).

    Source: Wu et al., "Unsupervised Feature Learning via Non-parametric Instance Discrimination", CVPR 2018;
    DINO `eval_knn.py`.
    """
    num_queries, num_neighbours = labels.shape
    shares = torch.empty(num_queries, len(cells), num_classes, dtype=torch.float64, device=labels.device)
    for weighting in dict.fromkeys(cell["weighting"] for cell in cells):
        members = [i for i, cell in enumerate(cells) if cell["weighting"] == weighting]
        weights = _weights(squared, weighting, spread)
        votes = torch.zeros(num_queries, num_classes, dtype=torch.float64, device=labels.device)
        num_counted = 0
        for i in sorted(members, key=lambda i: int(cells[i]["k"])):
            k = min(int(cells[i]["k"]), num_neighbours)
            votes.scatter_add_(1, labels[:, num_counted:k], weights[:, num_counted:k])
            num_counted = k
            shares[:, i] = votes / weights[:, :k].sum(dim=1, keepdim=True)
    return shares


def _weights(squared: torch.Tensor, weighting: HparamValue, spread: float) -> torch.Tensor:
    if weighting == "uniform":
        return torch.ones_like(squared)
    # Relative to the nearest, whose weight is 1: no temperature can make all weights underflow.
    return (-(squared - squared[:, :1]) / (float(weighting) * spread)).exp()


def smoothed_logits(shares: Float[torch.Tensor, "q m c"], ks: Float[torch.Tensor, " m"]) -> torch.Tensor:
    """Log of the vote shares after one more neighbour has voted for every class alike, float32.

    (k·share + 1/c) / (k + 1): finite for classes without a vote, and the order of the classes stays.
    """
    k = ks[None, :, None]
    return ((shares * k + 1.0 / shares.shape[2]) / (k + 1.0)).log().float()
