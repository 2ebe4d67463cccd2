"""The protocol `linear_probe`: a linear classifier on frozen features.

Without a chosen cell, one trial trains the whole packed grid (learning rate × weight decay, or C for L-BFGS);
with the cell a search has chosen, that head alone. There is nothing to resume from: the features are in the
store, an interrupted trial starts again and arrives at the same numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from raybench.catalog.search_spaces import LINEAR_PROBE_GRIDS, packed_edges
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.records import Hparams, HparamValue
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.denormals import flushed_denormals
from raybench.evaluation.feature_norm import FeatureNorm, resident, with_ones
from raybench.evaluation.head_on_features import HeadOnFeatures
from raybench.evaluation.logistic_path import PATIENCE, logistic_path
from raybench.evaluation.outcomes import EpochResult
from raybench.evaluation.packed_heads import PackedHeads
from raybench.evaluation.selection import Cell, HeadScores, best_cell
from raybench.metrics import classification_metrics


def linear_probe(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
    """Prepare a probe.

    Hyperparameters: `solver` (sgd, adamw, lbfgs), `feature_norm` (none, standardize, l2), `batch_size` and
    `epochs` (sgd and adamw), and optionally a chosen cell: `lr` and `weight_decay`, or `inverse_l2`; a chosen
    `epoch` ends training there without shortening the schedule, which spans min(`epochs`, `max_epochs`).
    """
    if hparams.get("solver", "adamw") == "lbfgs":
        return LogisticRun(context, hparams, seed)
    return GradientRun(context, hparams, seed, max_epochs)


def grid_cells(hparams: Hparams) -> tuple[dict[str, HparamValue], ...]:
    """The packed grid's cells, or the one cell that `hparams` name.

    >>> len(grid_cells({"solver": "sgd"})), grid_cells({"solver": "sgd", "lr": 0.1, "weight_decay": 0.0})
    (52, ({'lr': 0.1, 'weight_decay': 0.0},))
    """
    grid = PROTOCOLS["linear_probe"].packed_grid(hparams)
    options = [(hparams[name],) if name in hparams else values for name, values in grid.items()]
    return tuple(dict(zip(grid, values, strict=True)) for values in itertools.product(*options))


class _Probe(HeadOnFeatures):
    """What both kinds of solver share: the grid and its scoring."""

    def __init__(self, context: TrialContext, hparams: Hparams, seed: int) -> None:
        super().__init__(context, kind=str(hparams.get("feature_norm", "standardize")))
        self._hparams = hparams
        self._seed = seed
        self._cells = grid_cells(hparams)
        self._grid = PROTOCOLS["linear_probe"].packed_grid(hparams)
        self._is_packed = any(name not in hparams for name in self._grid)
        self._best: EpochResult | None = None

    def _rung(self, epoch: int, weights: torch.Tensor, cells: tuple[Cell, ...], val: Any) -> EpochResult:
        """Score the heads [d + 1, c·m] on val, keep the best one if it beats the epochs before."""
        scores = HeadScores(len(cells))
        for logits, targets in self._blocks(val, weights, len(cells)):
            scores.add(logits, targets)
        best = best_cell(scores.accuracy.tolist(), scores.nll.tolist(), cells)
        head = weights.view(len(weights), -1, len(cells))[:, :, best].clone()
        predicted = torch.cat([block[:, :, 0].cpu() for block, _ in self._blocks(val, head, 1)]).numpy()
        chosen = {**cells[best], "epoch": epoch}
        rung = EpochResult(
            epoch=epoch,
            metrics=classification_metrics(
                predicted, np.asarray(val.targets), PROTOCOLS["linear_probe"].metrics
            ),
            chosen=chosen,
            grid=self._scored_cells(cells, scores) if self._is_packed else (),
            edges=packed_edges(self._grid, chosen) if self._is_packed else {},
        )
        if rung.is_better(self._best, PROTOCOLS["linear_probe"].objective):
            self._best, self._head = rung, head
        return rung

    @staticmethod
    def _scored_cells(cells: tuple[Cell, ...], scores: HeadScores) -> tuple[Mapping[str, HparamValue], ...]:
        return tuple(
            {**cell, "accuracy": accuracy}
            for cell, accuracy in zip(cells, scores.accuracy.tolist(), strict=True)
        )


class GradientRun(_Probe):
    """Heads under SGD with momentum or AdamW, cosine schedule, one order of minibatches for all."""

    def __init__(self, context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> None:
        super().__init__(context, hparams, seed)
        self._epochs = min(int(hparams.get("epochs", max_epochs)), max_epochs)
        self._batch_size = int(hparams.get("batch_size", 256))

    def run_epochs(self) -> Iterator[EpochResult]:
        """One rung per epoch."""
        train, val = self._features("train"), self._features("val")
        self._norm = FeatureNorm.fit(self._hparams.get("feature_norm", "standardize"), train.features)  # type: ignore[arg-type]
        heads = PackedHeads(
            train.features.shape[1],
            self._context.dataset.num_classes,
            [(float(cell["lr"]), float(cell["weight_decay"])) for cell in self._cells],
            solver=self._hparams.get("solver", "adamw"),  # type: ignore[arg-type]
            seed=self._seed,
            device=self._context.device,
        )
        device = self._context.device
        features, targets = resident(train.features, device), torch.tensor(train.targets, device=device)
        last = min(int(self._hparams.get("epoch", self._epochs)), self._epochs)
        for epoch in range(1, last + 1):
            with flushed_denormals():
                self._train_epoch(heads, features, targets, epoch)
                rung = self._rung(epoch, heads.weights, self._cells, val)
            yield rung

    def _train_epoch(
        self, heads: PackedHeads, features: torch.Tensor, targets: torch.Tensor, epoch: int
    ) -> None:
        if self._norm is None:
            raise RuntimeError("the features' normalisation is fitted by run_epochs().")
        # The order depends on (seed, epoch) alone, not on how many numbers were drawn before.
        order = torch.from_numpy(np.random.default_rng((self._seed, epoch)).permutation(len(targets)))
        batches = order.to(features.device).split(self._batch_size)
        for step, batch in enumerate(batches):
            inputs = with_ones(self._norm.apply(features[batch]))
            progress = (epoch - 1 + step / len(batches)) / self._epochs
            heads.step(inputs, targets[batch], lr_factor=0.5 * (1 + math.cos(math.pi * progress)))


class LogisticRun(_Probe):
    """Logistic regression by L-BFGS over a path of regularisation strengths; deterministic, one rung.

    For a chosen C the path is walked again up to it: a cold fit ends elsewhere within the tolerance, this one
    gives the search's head to the last bit.
    """

    def run_epochs(self) -> Iterator[EpochResult]:
        """A single rung, after the path has ended or stopped early."""
        train, val = self._features("train"), self._features("val")
        self._norm = FeatureNorm.fit(self._hparams.get("feature_norm", "standardize"), train.features)  # type: ignore[arg-type]
        path = logistic_path(
            resident(train.features, self._context.device),
            np.asarray(train.targets),
            self._strengths(),
            norm=self._norm,
            num_classes=self._context.dataset.num_classes,
            patience=PATIENCE if self._is_packed else None,
            val=(resident(val.features, self._context.device), np.asarray(val.targets)),
        )
        if not self._is_packed:
            path = path[-1:]
        weights = torch.stack([fit.weights for fit in path], dim=2).flatten(1)
        cells: tuple[Cell, ...] = tuple({"inverse_l2": fit.inverse_l2} for fit in path)
        yield self._rung(1, weights, cells, val)

    def _strengths(self) -> list[float]:
        wanted = [float(cell["inverse_l2"]) for cell in self._cells]
        if self._is_packed:
            return wanted
        grid = LINEAR_PROBE_GRIDS["lbfgs"]["inverse_l2"]
        return [float(c) for c in grid if float(c) < wanted[0]] + wanted
