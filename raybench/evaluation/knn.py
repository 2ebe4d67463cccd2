"""The protocol `knn`: the classes of the nearest training features vote.

One trial finds the neighbours of every val example once and tries every k and weighting on them. With
`feature_norm` l2, neighbours are those of highest cosine similarity, otherwise of least Euclidean distance.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn

from raybench.backbones.loading import load_backbone
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import DataError
from raybench.core.records import Hparams
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.classifier_run import ClassifierRun
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.exact_search import nearest_blocks
from raybench.evaluation.feature_norm import FeatureNorm, resident
from raybench.evaluation.neighbour_vote import (
    EuclideanOrder,
    smoothed_logits,
    squared_distances,
    vote_shares,
)
from raybench.evaluation.outcomes import EpochResult, Predictions
from raybench.evaluation.packed_grid import Cell, HeadScores, PackedGrid
from raybench.metrics import classification_metrics

Found = tuple[torch.Tensor, torch.Tensor]
"""Squared distances and labels, both [b, k], of the neighbours of a block of queries."""

L2_SPREAD = 2.0
"""Mean squared distance of unrelated points on the unit sphere; makes temperatures those of DINO."""


def knn(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
    """Prepare a kNN classifier.

    Hyperparameters: `feature_norm` (none, standardize, l2), and optionally a chosen cell: `k` and `weighting`
    (`uniform` or a temperature). Nothing is random and there is one epoch, so `seed` and `max_epochs` change
    nothing.
    """
    return KnnRun(context, hparams)


class KnnRun(ClassifierRun):
    """Neighbours found once per split; every cell of the grid is a vote among them."""

    def __init__(self, context: TrialContext, hparams: Hparams) -> None:
        super().__init__(context)
        self._norm_kind = hparams.get("feature_norm", "l2")
        self._grid = PackedGrid(PROTOCOLS["knn"].packed_grid(hparams, context.packed), hparams)
        self._chosen: Cell | None = None

    def run_epochs(self) -> Iterator[EpochResult]:
        """Yield a single result."""
        val, cells = self._context.features("val"), self._cells()
        scores = HeadScores(len(cells), self._context.objective)
        targets = torch.tensor(val.targets, device=self._context.device)
        found = list(self._neighbours(resident(val.features, self._context.device), cells))
        for logits in self._logits(found, cells):
            scores.add(logits.transpose(1, 2), targets[scores.num_examples :][: len(logits)])
        best = scores.best(cells)
        self._chosen = cells[best]
        # The first k of more neighbours are the k nearest, so that val is searched once.
        blocks = [block[:, 0] for block in self._logits(found, (cells[best],))]
        metrics = classification_metrics(
            torch.cat(blocks).cpu().numpy(), np.asarray(val.targets), self.metrics
        )
        yield self._grid.result(1, cells, best, scores, metrics)

    def classifier(self) -> Classifier:
        """Backbone and the vote of the training features; its gradients are useless for attacks."""
        backbone = load_backbone(self._context.backbone_info, device=self._context.device)
        return Classifier(backbone, NeighbourHead(self)).freeze()

    def state(self) -> Mapping[str, torch.Tensor]:
        """Empty: the training features are stored."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Choose the cell that the hyperparameters name."""
        self._chosen = self._cells()[0]

    def vote(self, features: torch.Tensor) -> torch.Tensor:
        """Features [b, d] → log vote shares of the best cell, [b, c]."""
        if self._chosen is None:
            raise RuntimeError("no cell is chosen yet; iterate run_epochs() or call restore() first.")
        cells = (self._chosen,)
        return torch.cat([block[:, 0] for block in self._logits(self._neighbours(features, cells), cells)])

    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Log vote shares of the best cell, [n, c]."""
        stored = self._context.features(split)
        logits = self.vote(resident(stored.features, self._context.device)).cpu().numpy()
        return Predictions(ids=tuple(stored.ids), targets=np.asarray(stored.targets), logits=logits)

    def _cells(self) -> tuple[Cell, ...]:
        """The grid without values of k above the size of the training set, or the given cell.

        Raises:
            DataError: if the given k is above it.
        """
        num_train = len(self._context.features("train").targets)
        cells = self._grid.cells(limits={"k": num_train})
        if excessive := next((cell["k"] for cell in cells if float(cell["k"]) > num_train), None):
            raise DataError(
                f"kNN cannot take k = {excessive} neighbours of {num_train} training images; lower "
                "`hparams.k`."
            )
        return cells

    @functools.cached_property
    def _gallery(self) -> tuple[FeatureNorm, torch.Tensor, torch.Tensor, float]:
        """Normalisation, normalised training features, their labels, and the spread of distances."""
        device, train = self._context.device, self._context.features("train")
        norm = FeatureNorm.fit(self._norm_kind, train.features)  # type: ignore[arg-type]
        gallery = norm.apply(resident(train.features, device).clone())
        spread = L2_SPREAD if norm.kind == "l2" else mean_squared_distance(gallery)
        return norm, gallery, torch.tensor(train.targets, device=device), spread or 1.0

    def _neighbours(self, features: torch.Tensor, cells: tuple[Cell, ...]) -> Iterator[Found]:
        """Squared distances and labels [b, k] of the neighbours that the cells need, block by block."""
        norm, gallery, labels, _ = self._gallery
        queries = norm.apply(features.clone())
        start = 0
        for neighbours in nearest_blocks(queries, gallery, max(int(c["k"]) for c in cells), EuclideanOrder()):
            block = queries[start : start + len(neighbours.indices)]
            start += len(block)
            yield squared_distances(neighbours, block), labels[neighbours.indices]

    def _logits(self, found: Iterable[Found], cells: tuple[Cell, ...]) -> Iterator[torch.Tensor]:
        """Logits [b, m, c] of m grid cells, block by block."""
        device = self._context.device
        ks = torch.tensor([int(c["k"]) for c in cells], dtype=torch.float64, device=device)
        for squared, labels in found:
            shares = vote_shares(
                squared,
                labels,
                cells,
                num_classes=self._context.dataset.num_classes,
                spread=self._gallery[3],
            )
            yield smoothed_logits(shares, ks)


class NeighbourHead(nn.Module):
    """The vote of a `KnnRun` as a module."""

    def __init__(self, run: KnnRun) -> None:
        super().__init__()
        self._run = run

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self._run.vote(features)


def mean_squared_distance(rows: torch.Tensor) -> float:
    """Mean squared Euclidean distance of two rows [n, d] drawn at random."""
    return 2.0 * float(rows.double().var(dim=0, correction=0).sum())
