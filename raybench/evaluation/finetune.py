"""The protocol `finetune`: backbone and a new head trained end to end.

AdamW with layer-wise learning-rate decay, linear warm-up and cosine to zero per step, label smoothing,
gradient clipping, random crops on the device; bfloat16 (or float16) products on a GPU only. After every epoch
the state is written, and a run that finds one continues from it: on the CPU with one thread to the same last
bit as if never interrupted. GPU kernels add in no fixed order, so there only up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from raybench.backbones.layer_decay import param_groups
from raybench.backbones.loading import load_backbone
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import DivergedError
from raybench.core.preprocessing import Preprocessing
from raybench.core.records import Hparams
from raybench.data.batches import batches
from raybench.evaluation.classifier import Classifier, report_of
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.decoded_images import DecodedImages
from raybench.evaluation.epoch_checkpoint import TrainingState, load_best, load_state, save_best, save_state
from raybench.evaluation.outcomes import EpochResult, Predictions, SplitReport
from raybench.evaluation.precision import half_precision, mixed_precision
from raybench.metrics import classification_metrics
from raybench.perturbations.augmentations import Augmentation, augmented

BATCH_SIZE = 64
WARMUP_SHARE = 0.1
"""Of all steps; the paper warms up 5 to 10 of 100 epochs (bob/inventory 3)."""
LABEL_SMOOTHING = 0.1
"""The paper's (bob/inventory 3.1)."""
MAX_GRADIENT_NORM = 5.0
"""Swin's recipe; keeps a bad first step at a high learning rate from ending the run."""
HEAD_INIT_STD = 0.01


def finetune(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
    """Prepare a fine-tuning run.

    Hyperparameters: `lr`, `weight_decay`, `layer_decay`, `drop_path`, and optionally `epochs`, `batch_size`,
    `min_crop`, `flip` (off unless asked for: mirrored digits are other digits), `color_jitter`. A chosen
    `epoch` ends training there without shortening the schedule, which spans min(`epochs`, `max_epochs`).
    """
    return FinetuneRun(context, hparams, seed, max_epochs)


def new_head(num_features: int, num_classes: int) -> nn.Linear:
    """A linear head with small weights, so that training starts near chance."""
    head = nn.Linear(num_features, num_classes)
    nn.init.trunc_normal_(head.weight, std=HEAD_INIT_STD)
    nn.init.zeros_(head.bias)
    return head


class FinetuneRun:
    """One network being trained with one choice of hyperparameters."""

    def __init__(self, context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> None:
        self._context = context
        self._hparams = hparams
        self._seed = seed
        self._epochs = min(int(hparams.get("epochs", max_epochs)), max_epochs)
        self._batch_size = int(hparams.get("batch_size", BATCH_SIZE))
        self._best: EpochResult | None = None
        self._model: Classifier | None = None
        self._restored: dict[str, torch.Tensor] | None = None

    def run_epochs(self) -> Iterator[EpochResult]:
        """One rung per epoch; those of an interrupted attempt are replayed from its checkpoint first."""
        context, objective = self._context, PROTOCOLS["finetune"].objective
        training = Training(context, self._hparams, self._seed, self._epochs, self._batch_size)
        self._model = training.model
        state = load_state(context.checkpoint_dir, context.device)
        rungs: list[EpochResult] = []
        if state is not None:
            training.restore(state)
            rungs = state.rungs
            for rung in rungs:
                self._best = rung if rung.is_better(self._best, objective) else self._best
                yield rung
        last = min(int(self._hparams.get("epoch", self._epochs)), self._epochs)
        for epoch in range(len(rungs) + 1, last + 1):
            training.train_epoch(epoch)
            rung = self._measure(epoch, training.model)
            if rung.is_better(self._best, objective):
                self._best = rung
                save_best(context.checkpoint_dir, training.model.state_dict())
            rungs.append(rung)
            save_state(context.checkpoint_dir, training.state(rungs))
            yield rung

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Metrics of the weights that were best on val, from `predict`."""
        return report_of(self.predict(split), PROTOCOLS["finetune"].metrics)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the logits' columns."""
        return self._context.dataset.class_names

    def classifier(self) -> Classifier:
        """The weights that were best on val, in a network of their own."""
        fitted = self._untrained()
        fitted.load_state_dict(self._weights())
        return fitted.freeze()

    def state(self) -> Mapping[str, torch.Tensor]:
        """Every weight and statistic of backbone and head that was best on val."""
        return self._weights()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Have `state` stand for the best weights."""
        self._restored = dict(state)

    def _weights(self) -> dict[str, torch.Tensor]:
        if self._restored is not None:
            return self._restored
        return load_best(self._context.checkpoint_dir, self._context.device)

    def _untrained(self) -> Classifier:
        context = self._context
        backbone = load_backbone(context.backbone_info, device=context.device)
        head = new_head(backbone.num_features, context.dataset.num_classes)
        return Classifier(backbone, head).to(context.device)

    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Logits of the weights that were best on val, [n, c]."""
        if self._model is None or self._best is None:
            raise RuntimeError("predict() needs at least one rung; iterate run_epochs() first.")
        examples = self._context.dataset.split(split)  # Before anything else: test may be locked.
        current = {name: value.clone() for name, value in self._model.state_dict().items()}
        self._model.load_state_dict(load_best(self._context.checkpoint_dir, self._context.device))
        try:
            logits = self._logits(self._model, split)
        finally:
            self._model.load_state_dict(current)
        return Predictions(ids=tuple(examples.ids), targets=np.asarray(examples.targets), logits=logits)

    def _measure(self, epoch: int, model: Classifier) -> EpochResult:
        targets = np.asarray(self._context.dataset.val.targets)
        logits = self._logits(model, "val")
        if not np.isfinite(logits).all():
            raise DivergedError(f"fine-tuning diverged in epoch {epoch}: logits on val are NaN or infinite.")
        metrics = classification_metrics(logits, targets, PROTOCOLS["finetune"].metrics)
        return EpochResult(epoch=epoch, metrics=metrics, chosen={"epoch": epoch})

    def _logits(self, model: Classifier, split: Literal["val", "test"]) -> np.ndarray:
        context = self._context
        model.eval()
        found = []
        with torch.inference_mode(), mixed_precision(context.device):
            for pixels in batches(
                context.dataset.split(split),
                model.backbone.preprocessing,
                self._batch_size,
                num_threads=context.num_threads,
                device=context.device,
            ):
                found.append(model(pixels).float().cpu())
        return torch.cat(found).numpy()


class Training:
    """Model, optimiser and training images; advances by an epoch."""

    def __init__(
        self, context: TrialContext, hparams: Hparams, seed: int, epochs: int, batch_size: int
    ) -> None:
        self._device = context.device
        self._hparams = hparams
        self._seed = seed
        self._epochs = epochs
        self._batch_size = batch_size
        backbone = load_backbone(
            context.backbone_info, device=context.device, drop_path=float(hparams.get("drop_path", 0.0))
        )
        with seeded(context.device, seed, 0):
            head = new_head(backbone.num_features, context.dataset.num_classes)
            self.model = Classifier(backbone, head).to(context.device)
        groups = param_groups(
            backbone,
            head,
            lr=float(hparams["lr"]),
            weight_decay=float(hparams["weight_decay"]),
            layer_decay=float(hparams.get("layer_decay", 1.0)),
        )
        self._optimizer = torch.optim.AdamW(groups)
        self._base_lrs = [float(group["lr"]) for group in groups]
        self._scaler = torch.amp.GradScaler(
            context.device.type, enabled=half_precision(context.device) is torch.float16
        )
        self._augmentation = Augmentation(
            output_size=backbone.preprocessing.input_size,
            min_crop=float(hparams.get("min_crop", 0.5)),
            flip=bool(hparams.get("flip", False)),
            color_jitter=float(hparams.get("color_jitter", 0.0)),
        ).build()
        self._images = DecodedImages(
            context.dataset.train, whole_square(backbone.preprocessing), num_threads=context.num_threads
        )
        self._targets = torch.tensor(context.dataset.train.targets, device=context.device)

    def train_epoch(self, epoch: int) -> None:
        """Raises DivergedError if a loss is NaN or infinite."""
        self.model.train()
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._images))
        if len(order) > 1 and len(order) % self._batch_size == 1:
            order = order[:-1]  # Batch norm cannot normalise a last batch of one.
        num_steps = math.ceil(len(order) / self._batch_size)
        with seeded(self._device, self._seed, epoch):
            stream = self._images.batches(order, self._batch_size, self._device)
            for step, pixels in enumerate(stream):
                self._set_lr(((epoch - 1) * num_steps + step + 0.5) / (self._epochs * num_steps))
                first = step * self._batch_size
                batch = torch.from_numpy(order[first : first + len(pixels)]).to(self._device)
                loss = self._step(augmented(pixels, self._augmentation), self._targets[batch])
                if not math.isfinite(loss):
                    raise DivergedError(
                        f"fine-tuning diverged: the loss is {loss} in step {step + 1} of epoch {epoch} with "
                        f"lr = {self._hparams['lr']}; lower `lr`."
                    )

    def state(self, rungs: list[EpochResult]) -> TrainingState:
        """What a resumed run needs."""
        return TrainingState(
            weights=self.model.state_dict(),
            optimizer=self._optimizer.state_dict(),
            scaler=self._scaler.state_dict(),
            rungs=rungs,
        )

    def restore(self, state: TrainingState) -> None:
        """Continue where `state` was taken."""
        self.model.load_state_dict(state.weights)
        self._optimizer.load_state_dict(state.optimizer)
        self._scaler.load_state_dict(state.scaler)

    def _step(self, pixels: torch.Tensor, targets: torch.Tensor) -> float:
        with mixed_precision(self._device):
            logits = self.model(pixels)
        loss = nn.functional.cross_entropy(logits.float(), targets, label_smoothing=LABEL_SMOOTHING)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return float(loss.detach())

    def _set_lr(self, progress: float) -> None:
        factor = lr_factor(progress)
        for group, base in zip(self._optimizer.param_groups, self._base_lrs, strict=True):
            group["lr"] = base * factor


def lr_factor(progress: float) -> float:
    """Linear warm-up, then cosine to zero; `progress` is the share of all steps done, in (0, 1).

    >>> [round(lr_factor(p), 3) for p in (0.0, 0.05, 0.1, 0.55, 0.999)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < WARMUP_SHARE:
        return progress / WARMUP_SHARE
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


def whole_square(preprocessing: Preprocessing) -> Preprocessing:
    """The same without the centre crop: what random crops are taken from."""
    side = math.floor(preprocessing.input_size / preprocessing.crop_pct)
    return replace(preprocessing, input_size=side, crop_pct=1.0)


@contextmanager
def seeded(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """Random numbers of (seed, epoch) inside, on CPU and device; the generators are as before afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))
        yield
