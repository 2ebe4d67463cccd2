"""Training of a backbone and a new head on one dataset, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from raybench.backbones.loading import load_backbone
from raybench.core.errors import DivergedError
from raybench.core.preprocessing import Preprocessing
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.finetune.checkpoint import TrainingState
from raybench.evaluation.finetune.decoded_images import DecodedImages
from raybench.evaluation.finetune.optimizer import Optimizer
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.outcomes import EpochResult
from raybench.evaluation.precision import mixed_precision
from raybench.perturbations.augmentations import Augmentation, augmented

LABEL_SMOOTHING = 0.1
"""As in Goldblum et al. 2023 (released configs)."""
HEAD_INIT_STD = 0.01


class Training:
    """Model, optimiser and training images."""

    def __init__(self, context: TrialContext, recipe: Recipe, seed: int) -> None:
        self._device = context.device
        self._recipe = recipe
        self._seed = seed
        self.model = new_classifier(context, seed, drop_path=recipe.drop_path)
        preprocessing = self.model.backbone.preprocessing
        self._optimizer = Optimizer(self.model, recipe, context.device)
        self._augmentation = Augmentation(
            output_size=preprocessing.input_size,
            min_crop=recipe.min_crop,
            flip=recipe.flip,
            color_jitter=recipe.color_jitter,
        ).build()
        self._images = DecodedImages(
            context.dataset.train, without_center_crop(preprocessing), num_threads=context.num_threads
        )
        self._targets = torch.tensor(context.dataset.train.targets, device=context.device)

    def train_epoch(self, epoch: int) -> None:
        """Train on every image once, in an order and with augmentations that follow from (seed, epoch).

        Raises:
            DivergedError: if a loss is NaN or infinite.
        """
        self.model.train()
        order = self._order(epoch)
        size = self._recipe.batch_size
        num_steps = math.ceil(len(order) / size)
        with seeded(self._device, self._seed, epoch):
            for step, pixels in enumerate(self._images.batches(order, size, self._device)):
                batch = torch.from_numpy(order[step * size : (step + 1) * size]).to(self._device)
                loss = self._loss(augmented(pixels, self._augmentation), self._targets[batch])
                progress = ((epoch - 1) * num_steps + step + 0.5) / (self._recipe.epochs * num_steps)
                self._optimizer.step(loss, progress)
                if not math.isfinite(value := float(loss.detach())):
                    raise DivergedError(
                        f"fine-tuning diverged: the loss is {value} in step {step + 1} of epoch {epoch} with "
                        f"lr = {self._recipe.lr}; lower `lr`."
                    )

    def state(self, results: list[EpochResult]) -> TrainingState:
        """What a resumed run needs, after the epochs that gave `results`."""
        optimizer, scaler = self._optimizer.state()
        return TrainingState(
            weights=self.model.state_dict(), optimizer=optimizer, scaler=scaler, results=results
        )

    def restore(self, state: TrainingState) -> None:
        """Continue from `state`."""
        self.model.load_state_dict(state.weights)
        self._optimizer.restore(state.optimizer, state.scaler)

    def _order(self, epoch: int) -> np.ndarray:
        """Indices of the training images, shuffled; one fewer where the last batch would hold one image."""
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._images))
        is_last_alone = len(order) > 1 and len(order) % self._recipe.batch_size == 1
        return order[:-1] if is_last_alone else order  # Batch norm cannot normalise a batch of one.

    def _loss(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with mixed_precision(self._device):
            logits = self.model(pixels)
        return nn.functional.cross_entropy(logits.float(), targets, label_smoothing=LABEL_SMOOTHING)


def new_classifier(context: TrialContext, seed: int, *, drop_path: float = 0.0) -> Classifier:
    """The pretrained backbone with a new head of small weights, so that training starts near chance."""
    backbone = load_backbone(context.backbone_info, device=context.device, drop_path=drop_path)
    with seeded(context.device, seed, 0):
        head = nn.Linear(backbone.num_features, context.dataset.num_classes)
        nn.init.trunc_normal_(head.weight, std=HEAD_INIT_STD)
        nn.init.zeros_(head.bias)
    return Classifier(backbone, head).to(context.device)


def without_center_crop(preprocessing: Preprocessing) -> Preprocessing:
    """The preprocessing with the whole resized square, from which random crops are taken."""
    side = math.floor(preprocessing.input_size / preprocessing.crop_pct)
    return replace(preprocessing, input_size=side, crop_pct=1.0)


@contextmanager
def seeded(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """Seed torch from (seed, epoch) on CPU and device; restore the random states afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))
        yield
