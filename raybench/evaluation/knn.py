"""The protocol `knn`: the classes of the nearest training features vote.

One trial computes the neighbours of every val example once and tries every k and weighting on them. With
`feature_norm` l2 neighbours are those of highest cosine similarity, otherwise of least euclidean distance.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from raybench.backbones.loading import load_backbone
from raybench.catalog.search_spaces import packed_edges
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.records import Hparams, HparamValue
from raybench.evaluation.classifier import Classifier, report_of
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.exact_search import nearest_blocks
from raybench.evaluation.feature_norm import FeatureNorm, resident
from raybench.evaluation.neighbour_vote import (
    EuclideanOrder,
    smoothed_logits,
    squared_distances,
    vote_shares,
)
from raybench.evaluation.outcomes import EpochResult, Predictions, SplitReport
from raybench.evaluation.selection import Cell, HeadScores, best_cell
from raybench.metrics import classification_metrics

L2_SPREAD = 2.0
"""Mean squared distance of unrelated points on the unit sphere; makes temperatures those of DINO."""


def knn(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
    """Prepare a vote.

    Hyperparameters: `feature_norm` (none, standardize, l2), and optionally a chosen cell: `k` and `weighting`
    (`uniform` or a temperature). Nothing here is random and there is one epoch, so `seed` and `max_epochs`
    change nothing.
    """
    return KnnRun(context, hparams)


class KnnRun:
    """Neighbours, found once per split and put to the vote for every cell."""

    def __init__(self, context: TrialContext, hparams: Hparams) -> None:
        self._context = context
        self._hparams = hparams
        self._grid = PROTOCOLS["knn"].packed_grid(hparams)
        self._is_packed = any(name not in hparams for name in self._grid)
        self._chosen: Cell | None = None

    def run_epochs(self) -> Iterator[EpochResult]:
        """A single rung."""
        train, val = self._features("train"), self._features("val")
        cells = self._cells(len(train.targets))
        scores = HeadScores(len(cells))
        targets = torch.tensor(val.targets, device=self._context.device)
        done = 0
        for logits in self._logits(train, resident(val.features, self._context.device), cells):
            scores.add(logits.transpose(1, 2), targets[done : done + len(logits)])
            done += len(logits)
        best = best_cell(scores.accuracy.tolist(), scores.nll.tolist(), cells)
        self._chosen = cells[best]
        chosen = {**self._chosen, "epoch": 1}
        predicted = self.predict("val")
        yield EpochResult(
            epoch=1,
            metrics=classification_metrics(predicted.logits, predicted.targets, PROTOCOLS["knn"].metrics),
            chosen=chosen,
            grid=tuple({**c, "accuracy": a} for c, a in zip(cells, scores.accuracy.tolist(), strict=True))
            if self._is_packed
            else (),
            edges=packed_edges(self._grid, chosen) if self._is_packed else {},
        )

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Metrics of the best cell, from `predict`."""
        return report_of(self.predict(split), PROTOCOLS["knn"].metrics)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the logits' columns."""
        return self._context.dataset.class_names

    def classifier(self) -> Classifier:
        """Backbone and the vote of the training features; no gradient worth attacking."""
        backbone = load_backbone(self._context.backbone_info, device=self._context.device)
        return Classifier(backbone, NeighbourHead(self)).freeze()

    def state(self) -> Mapping[str, torch.Tensor]:
        """Nothing: the training features are in the store."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the cell that the hyperparameters name."""
        self._chosen = self._cells(len(self._features("train").targets))[0]

    def vote(self, features: torch.Tensor) -> torch.Tensor:
        """Features [b, d] → log vote shares of the best cell, [b, c]."""
        if self._chosen is None:
            raise RuntimeError("vote() needs a rung or restore(); call either first.")
        blocks = self._logits(self._features("train"), features, (self._chosen,))
        return torch.cat([block[:, 0] for block in blocks])

    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Log vote shares of the best cell, [n, c]."""
        if self._chosen is None:
            raise RuntimeError("predict() needs a rung; iterate run_epochs() first.")
        found = self._features(split)
        logits = self.vote(resident(found.features, self._context.device)).cpu().numpy()
        return Predictions(ids=tuple(found.ids), targets=np.asarray(found.targets), logits=logits)

    def _cells(self, num_train: int) -> tuple[Cell, ...]:
        """The grid without values of k that exceed the training set, or the one cell that hparams name."""
        options: list[tuple[HparamValue, ...]] = []
        for name, values in self._grid.items():
            fitting = tuple(v for v in values if name != "k" or int(v) <= num_train)
            options.append((self._hparams[name],) if name in self._hparams else fitting)
        return tuple(dict(zip(self._grid, values, strict=True)) for values in itertools.product(*options))

    def _logits(self, train: Any, queries: torch.Tensor, cells: tuple[Cell, ...]) -> Iterator[torch.Tensor]:
        """[b, m, c] block by block, in the order of the queries."""
        device = self._context.device
        norm = FeatureNorm.fit(self._hparams.get("feature_norm", "l2"), train.features)  # type: ignore[arg-type]
        gallery = norm.apply(resident(train.features, device).clone())
        normalised = norm.apply(queries.clone())
        labels = torch.tensor(train.targets, device=device)
        ks = torch.tensor([min(int(c["k"]), len(gallery)) for c in cells], dtype=torch.float64, device=device)
        spread = (
            L2_SPREAD if norm.kind == "l2" else 2.0 * float(gallery.double().var(dim=0, correction=0).sum())
        )
        start = 0
        for neighbours in nearest_blocks(normalised, gallery, int(ks.max()), EuclideanOrder()):
            block = normalised[start : start + len(neighbours.indices)]
            start += len(block)
            shares = vote_shares(
                squared_distances(neighbours, block),
                labels[neighbours.indices],
                cells,
                num_classes=self._context.dataset.num_classes,
                spread=spread or 1.0,
            )
            yield smoothed_logits(shares, ks)

    def _features(self, split: Literal["train", "val", "test"]) -> Any:
        context = self._context
        return context.store.get(context.backbone_info, context.dataset, split, device=context.device)


class NeighbourHead(nn.Module):
    """The vote of a `KnnRun` as a module."""

    def __init__(self, run: KnnRun) -> None:
        super().__init__()
        self._run = run

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self._run.vote(features)
