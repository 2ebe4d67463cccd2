"""Training of a backbone and a new head on one dataset, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raybench.backbones.loading import load_backbone
from raybench.core.errors import DivergedError
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.finetune.checkpoint import TrainingState
from raybench.evaluation.finetune.optimizer import WARMUP_SHARE, Optimizer, lr_factor
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.finetune.training_images import TrainingImages
from raybench.evaluation.linear_probe import LogisticRun
from raybench.evaluation.outcomes import EpochResult
from raybench.evaluation.precision import mixed_precision

HEAD_INIT_STD = 0.01


class Training:
    """Model, optimiser and training images."""

    def __init__(self, context: TrialContext, recipe: Recipe, seed: int) -> None:
        self._context = context
        self._device = context.device
        self._recipe = recipe
        self._seed = seed
        self.model = new_classifier(context, seed, drop_path=recipe.drop_path)
        self._average = _moving_average(self.model, recipe.ema) if recipe.ema > 0 else None
        self._optimizer = Optimizer(self.model, recipe, context.device)
        self._images = TrainingImages(context, self.model.backbone.preprocessing, recipe, seed)
        self._steps_per_epoch = self._images.steps_per_epoch
        longest = recipe.epochs * self._steps_per_epoch
        self._num_steps = min(recipe.steps, longest) if recipe.steps else longest

    @property
    def last_epoch(self) -> int:
        """The epoch after which training ends, whole or not."""
        return min(self._recipe.last_epoch, math.ceil(self._num_steps / self._steps_per_epoch))

    @property
    def measured_model(self) -> Classifier:
        """The weights to measure and keep: the moving average if there is one."""
        return self.model if self._average is None else cast(Classifier, self._average.module)

    def initialize_head(self) -> None:
        """Give the head of a run that starts its first weights, as the recipe's `head_init` says."""
        head = cast(nn.Linear, self.model.head)
        if self._recipe.head_init == "xavier":
            with seeded(self._device, self._seed, 0):
                weight = nn.init.xavier_normal_(torch.empty(head.weight.shape))
            head.weight.data.copy_(weight)
        elif self._recipe.head_init == "linear_probe":
            weight, bias = linear_probe_head(self._context)
            head.weight.data.copy_(weight)
            head.bias.data.copy_(bias)

    def train_epoch(self, epoch: int) -> None:
        """Train on every image once, in an order and with augmentations that follow from (seed, epoch).

        Raises:
            DivergedError: if a loss is NaN or infinite.
        """
        self._set_train_mode()
        num_before = (epoch - 1) * self._steps_per_epoch
        with seeded(self._device, self._seed, epoch):
            for step, (pixels, targets) in enumerate(self._images.batches(epoch)):
                if num_before + step >= self._num_steps:
                    return
                factor = self._lr_factor((num_before + step + 0.5) / self._num_steps)
                value = self._optimizer.step(self._losses(pixels, targets), factor)
                if self._average is not None:
                    self._average.update_parameters(self.model)
                if not math.isfinite(value):
                    raise DivergedError(
                        f"fine-tuning diverged: the loss is {value} in step {step + 1} of epoch {epoch} with "
                        f"lr = {self._recipe.lr}; lower `lr`."
                    )

    def state(self, results: list[EpochResult]) -> TrainingState:
        """What a resumed run needs, after the epochs that gave `results`."""
        optimizer, scaler = self._optimizer.state()
        return TrainingState(
            weights=self.model.state_dict(),
            optimizer=optimizer,
            scaler=scaler,
            average={} if self._average is None else self._average.state_dict(),
            results=results,
        )

    def restore(self, state: TrainingState) -> None:
        """Continue from `state`."""
        self.model.load_state_dict(state.weights)
        self._optimizer.restore(state.optimizer, state.scaler)
        if self._average is not None:
            self._average.load_state_dict(state.average)

    def _set_train_mode(self) -> None:
        self.model.train()
        if self._recipe.freeze_batch_stats:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _lr_factor(self, progress: float) -> float:
        recipe, warmup = self._recipe, WARMUP_SHARE
        if recipe.warmup_epochs is not None:
            warmup = min(1.0, recipe.warmup_epochs * self._steps_per_epoch / self._num_steps)
        return lr_factor(progress, warmup, recipe.warmup_start, recipe.lr_floor)

    def _losses(self, pixels: torch.Tensor, targets: torch.Tensor) -> Iterator[torch.Tensor]:
        """Losses of the batch's parts, which add up to its mean loss; parts differ by one image at most."""
        num_parts = math.ceil(len(pixels) / self._recipe.images_per_pass)
        for part, part_targets in zip(
            pixels.tensor_split(num_parts), targets.tensor_split(num_parts), strict=True
        ):
            yield self._loss(part, part_targets) * (len(part) / len(pixels))

    def _loss(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy with smoothed labels; targets are class indices or label shares."""
        with mixed_precision(self._device):
            logits = self.model(pixels)
        smoothing = self._recipe.label_smoothing
        return nn.functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing)


def new_classifier(context: TrialContext, seed: int, *, drop_path: float = 0.0) -> Classifier:
    """The pretrained backbone with a new head of small weights, so that training starts near chance."""
    backbone = load_backbone(context.backbone_info, device=context.device, drop_path=drop_path)
    with seeded(context.device, seed, 0):
        head = nn.Linear(backbone.num_features, context.dataset.num_classes)
        nn.init.trunc_normal_(head.weight, std=HEAD_INIT_STD)
        nn.init.zeros_(head.bias)
    return Classifier(backbone, head).to(context.device)


def linear_probe_head(context: TrialContext) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight [c, d], bias [c]) of a linear probe on the stored features.

    Logistic regression on standardised features, with the strength that is best on val; the standardisation
    is folded into the weights. Source: LP-FT, Kumar et al., ICLR 2022.
    """
    probe = LogisticRun(context, {"solver": "lbfgs", "feature_norm": "standardize"})
    for _ in probe.run_epochs():
        pass
    state = probe.state()
    weight = state["weights"][:-1] * state["scale"][:, None]
    return weight.T, state["weights"][-1] - state["mean"] @ weight


def _moving_average(model: Classifier, decay: float) -> AveragedModel:
    """The exponential moving average of the weights; batch statistics are the model's latest."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


@contextmanager
def seeded(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """Seed torch from (seed, epoch) on CPU and device; restore the random states afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))
        yield
