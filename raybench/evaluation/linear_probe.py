"""The protocol `linear_probe`: a linear classifier on frozen features.

If the hyperparameters name no cell, one trial trains the whole packed grid (learning rate × weight decay, or
C for L-BFGS, penalty for ridge); otherwise that head alone. There are no checkpoints: features are stored, so
an interrupted trial starts again and gives the same numbers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import torch

from raybench.catalog.search_spaces import LINEAR_PROBE_MINIBATCH
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.records import Hparams
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.device_features import DeviceFeatures
from raybench.evaluation.feature_norm import FeatureNorm, NormKind, with_ones
from raybench.evaluation.halving import Halving
from raybench.evaluation.linear_head import LinearHeadRun
from raybench.evaluation.logistic_path import PATIENCE, logistic_path
from raybench.evaluation.outcomes import EpochResult
from raybench.evaluation.packed_grid import Cell, HeadScores, PackedGrid
from raybench.evaluation.packed_heads import PackedHeads
from raybench.evaluation.precision import flushed_denormals
from raybench.evaluation.ridge_path import ridge_path
from raybench.features.store import FeatureSet
from raybench.metrics import classification_metrics


def linear_probe(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
    """Prepare a linear probe.

    Hyperparameters: `solver` (sgd, adamw, lbfgs, ridge), `feature_norm` (none, standardize, l2), `batch_size`
    and `epochs` (sgd and adamw), and optionally a chosen cell: `lr` and `weight_decay`, `inverse_l2` or
    `ridge_penalty`; a chosen `epoch` ends training there without shortening the schedule, which spans
    min(`epochs`, `max_epochs`).
    """
    solver = hparams.get("solver", "adamw")
    if solver == "lbfgs":
        return LogisticRun(context, hparams)
    if solver == "ridge":
        return RidgeRun(context, hparams)
    return GradientRun(context, hparams, seed, max_epochs)


class LinearProbeRun(LinearHeadRun):
    """What all solvers share: heads scored on val, and the best one kept."""

    def __init__(self, context: TrialContext, hparams: Hparams) -> None:
        norm_kind: NormKind = hparams.get("feature_norm", "standardize")  # type: ignore[assignment]
        super().__init__(context, norm_kind)
        self._hparams = hparams
        grid = PROTOCOLS["linear_probe"].packed_grid(hparams, context.packed)
        self._values = grid
        self._grid = PackedGrid(grid, hparams)
        self._best: EpochResult | None = None

    def run_epochs(self) -> Iterator[EpochResult]:
        """Yield the result of each epoch: one per epoch of SGD and AdamW, otherwise a single one."""
        train, val = self._context.features("train"), self._context.features("val")
        self._norm = FeatureNorm.fit(self._norm_kind, train.features)
        yield from self._train(train, val, self._norm)

    @abstractmethod
    def _train(self, train: FeatureSet, val: FeatureSet, norm: FeatureNorm) -> Iterator[EpochResult]: ...

    def _score(
        self, epoch: int, weights: torch.Tensor, cells: tuple[Cell, ...], val: FeatureSet
    ) -> EpochResult:
        """Score the heads [d + 1, c·m] on val; keep the best one if it is better than in earlier epochs."""
        scores = self._head_scores(weights, len(cells), val)
        best = scores.best(cells)
        head = weights.view(len(weights), -1, len(cells))[:, :, best].clone()
        best_logits = torch.cat([block[:, :, 0].cpu() for block, _ in self._scored(val, head, 1)]).numpy()
        metrics = classification_metrics(best_logits, np.asarray(val.targets), self.metrics)
        result = self._grid.result(epoch, cells, best, scores, metrics)
        if result.is_better(self._best, self._context.objective):
            self._best, self._head = result, head
        return result

    def _head_scores(self, weights: torch.Tensor, num_heads: int, val: FeatureSet) -> HeadScores:
        scores = HeadScores(num_heads, self._context.objective)
        for logits, targets in self._scored(val, weights, num_heads):
            scores.add(logits, targets)
        return scores


class GradientRun(LinearProbeRun):
    """Heads trained by SGD with momentum or AdamW with a cosine schedule, on the same minibatches."""

    def __init__(self, context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> None:
        super().__init__(context, hparams)
        self._seed = seed
        self._epochs = min(int(hparams.get("epochs", max_epochs)), max_epochs)
        self._batch_size = int(hparams.get("batch_size", LINEAR_PROBE_MINIBATCH))

    def _train(self, train: FeatureSet, val: FeatureSet, norm: FeatureNorm) -> Iterator[EpochResult]:
        device, cells = self._context.device, self._grid.cells()
        heads = PackedHeads(
            train.features.shape[1],
            self._context.dataset.num_classes,
            [(float(cell["lr"]), float(cell["weight_decay"])) for cell in cells],
            solver=self._hparams.get("solver", "adamw"),  # type: ignore[arg-type]
            seed=self._seed,
            device=device,
        )
        features = DeviceFeatures(train.features, device)
        targets = torch.tensor(train.targets, device=device)
        num_steps = self._epochs * math.ceil(len(targets) / self._batch_size)
        halving = Halving(cells, self._context.dataset.num_classes, num_steps)
        last = min(int(self._hparams.get("epoch", self._epochs)), self._epochs)
        for epoch in range(1, last + 1):
            with flushed_denormals():
                batches = self._order(epoch, len(targets)).split(self._batch_size)
                for step, (batch, rows) in enumerate(zip(batches, features.batches(batches), strict=True)):
                    inputs = with_ones(norm.apply(rows))
                    progress = (epoch - 1 + step / len(batches)) / self._epochs
                    heads.step(
                        inputs, targets[batch.to(device)], lr_factor=0.5 * (1 + math.cos(math.pi * progress))
                    )
                    if halving.is_due(taken := (epoch - 1) * len(batches) + step + 1):
                        scores = self._head_scores(heads.weights, heads.num_heads, val)
                        heads.keep(halving.keep_best(taken, scores, taken / len(batches)))
                result = self._score(epoch, heads.weights, halving.cells, val)
            yield halving.completed(result, self._context.objective)

    def _order(self, epoch: int, num_examples: int) -> torch.Tensor:
        """Shuffled indices that depend on (seed, epoch) alone, not on random numbers drawn before."""
        return torch.from_numpy(np.random.default_rng((self._seed, epoch)).permutation(num_examples))


class LogisticRun(LinearProbeRun):
    """Logistic regression by L-BFGS over a path of regularisation strengths; deterministic, one epoch.

    For a chosen C the path up to it is fitted again, which gives the search's head to the last bit; a fit
    that starts at zero would end elsewhere within the tolerance.
    """

    def _train(self, train: FeatureSet, val: FeatureSet, norm: FeatureNorm) -> Iterator[EpochResult]:
        # The path ends early by accuracy and NLL, which says nothing about other objectives.
        may_end_early = self._grid.is_searched and self._context.objective in ("accuracy", "nll")
        path = logistic_path(
            DeviceFeatures(train.features, self._context.device),
            np.asarray(train.targets),
            self._strengths(),
            norm=norm,
            num_classes=self._context.dataset.num_classes,
            patience=PATIENCE if may_end_early else None,
            val=(DeviceFeatures(val.features, self._context.device), np.asarray(val.targets)),
        )
        if not self._grid.is_searched:
            path = path[-1:]
        weights = torch.stack([fit.weights for fit in path], dim=2).flatten(1)
        cells: tuple[Cell, ...] = tuple({"inverse_l2": fit.inverse_l2} for fit in path)
        yield self._score(1, weights, cells, val)

    def _strengths(self) -> list[float]:
        """The whole grid, or its part below the chosen C and that C."""
        strengths = [float(cell["inverse_l2"]) for cell in self._grid.cells()]
        if self._grid.is_searched:
            return strengths
        return [float(c) for c in self._values["inverse_l2"] if float(c) < strengths[0]] + strengths


class RidgeRun(LinearProbeRun):
    """Ridge regression on class indicators, all penalties from one eigendecomposition; one epoch.

    A chosen penalty gives the search's head to the last bit.
    """

    def _train(self, train: FeatureSet, val: FeatureSet, norm: FeatureNorm) -> Iterator[EpochResult]:
        cells = self._grid.cells()
        path = ridge_path(
            train.features,
            np.asarray(train.targets),
            [float(cell["ridge_penalty"]) for cell in cells],
            norm=norm,
            num_classes=self._context.dataset.num_classes,
            val=(val.features, np.asarray(val.targets)),
            device=self._context.device,
        )
        yield self._score(1, torch.stack([fit.weights for fit in path], dim=2).flatten(1), cells, val)
