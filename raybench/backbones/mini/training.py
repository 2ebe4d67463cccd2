"""Training loop: AdamW with a one-cycle schedule, a log line and a checkpoint per epoch, exact resume."""

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raybench.backbones.mini.method import Method
from raybench.backbones.mini.recipes import Recipe
from raybench.core.errors import DivergedError

logger = logging.getLogger(__name__)
WARMUP = 0.2
"""Share of all steps with a rising learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    epochs: int
    seconds: float
    """Training time, summed over resumes."""
    loss: float
    """Mean over the last epoch."""


def train(
    module: Method,
    images: Tensor,
    labels: Tensor,
    *,
    recipe: Recipe,
    seed: int,
    checkpoint: Path,
    device: torch.device,
) -> TrainingResult:
    """Train `module` in place, from `checkpoint` if that file exists.

    Args:
        module: method whose backbone is trained; its other parts are only saved in the checkpoint.
        images: uint8 [n, 32, 32, 3] on the CPU; labels: int64 [n].
        checkpoint: rewritten after every epoch; resuming gives the same result as an uninterrupted run.

    Raises:
        DivergedError: if an epoch's loss is not finite.
    """
    module.to(device=device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(_parameter_groups(module, recipe.weight_decay), lr=recipe.lr, fused=True)
    num_batches = len(images) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, recipe.epochs * num_batches, pct_start=WARMUP, cycle_momentum=False
    )
    torch.manual_seed(seed)
    parts: Mapping[str, Any] = {"module": module, "optimizer": optimizer, "schedule": schedule}
    first_epoch, seconds, loss = _resume(checkpoint, parts)
    for epoch in range(first_epoch, recipe.epochs):
        started = time.perf_counter()
        loss = _train_epoch(module, images, labels, recipe.batch_size, optimizer, schedule)
        if not math.isfinite(loss):
            raise DivergedError(f"loss is {loss} in epoch {epoch + 1} of {checkpoint.stem}; lower the lr.")
        seconds += time.perf_counter() - started
        progress = {"epoch": epoch + 1, "seconds": seconds, "loss": loss, "rng": torch.get_rng_state()}
        _save({**progress, **{key: part.state_dict() for key, part in parts.items()}}, checkpoint)
        per_epoch = seconds / (epoch + 1)
        logger.info(
            "%s epoch %d/%d loss %.4f, %.0f images/s, %.0f s left",
            *(checkpoint.stem, epoch + 1, recipe.epochs, loss, len(images) / per_epoch),
            per_epoch * (recipe.epochs - epoch - 1),
        )
    return TrainingResult(epochs=recipe.epochs, seconds=seconds, loss=loss)


def _train_epoch(
    method: Method, images: Tensor, labels: Tensor, batch_size: int, optimizer: Any, schedule: Any
) -> float:
    """Train one epoch in random order, dropping an incomplete last batch; return the mean loss."""
    method.train()
    device = next(method.parameters()).device
    num_batches = len(images) // batch_size
    total = torch.zeros((), device=device)
    for chosen in torch.randperm(len(images))[: num_batches * batch_size].view(num_batches, -1):
        views = tuple(
            view.to(device).contiguous(memory_format=torch.channels_last)
            for view in method.augment(images[chosen])
        )
        loss = method(views, labels[chosen].to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.detach()
    return total.item() / num_batches


def _parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _resume(checkpoint: Path, parts: Mapping[str, Any]) -> tuple[int, float, float]:
    if not checkpoint.exists():
        return 0, 0.0, math.nan
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    for key, part in parts.items():
        part.load_state_dict(state[key])
    torch.set_rng_state(state["rng"])
    logger.info("%s resumes after epoch %d", checkpoint.stem, state["epoch"])
    return state["epoch"], state["seconds"], state["loss"]


def _save(state: dict[str, Any], checkpoint: Path) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    temporary = checkpoint.with_suffix(f".{os.getpid()}.tmp")
    torch.save(state, temporary)
    temporary.replace(checkpoint)
