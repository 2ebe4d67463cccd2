"""The optimiser of fine-tuning: AdamW with layer-wise learning rates, accumulation and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from raybench.backbones.layer_decay import param_groups
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.precision import half_precision

WARMUP_SHARE = 0.1
"""Share of all steps where a recipe states no `warmup_epochs`."""


def lr_factor(progress: float, warmup: float = WARMUP_SHARE, start: float = 0.0, floor: float = 0.0) -> float:
    """Linear warm-up, then cosine; `progress` is the share of all steps done, in (0, 1).

    Args:
        progress: share of all steps done.
        warmup: share of all steps after which the factor is 1, in [0, 1].
        start: factor at progress 0.
        floor: factor at progress 1.

    >>> [round(lr_factor(p), 3) for p in (0.0, 0.05, 0.1, 0.55, 0.999)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    >>> [round(lr_factor(p, 0.2, start=0.1, floor=0.01), 4) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.1, 0.55, 1.0, 0.505, 0.01]
    """
    if progress < warmup:
        return start + (1 - start) * (progress / warmup)
    if warmup >= 1.0:
        return 1.0
    cosine = 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
    return floor + (1 - floor) * cosine


class Optimizer:
    """AdamW over a classifier's parameters; losses are scaled where products are float16."""

    def __init__(self, model: Classifier, recipe: Recipe, device: torch.device) -> None:
        self._parameters = list(model.parameters())
        self._clip_norm = recipe.clip_norm
        self._adamw = torch.optim.AdamW(
            param_groups(
                model.backbone,
                model.head,
                lr=recipe.lr,
                weight_decay=recipe.weight_decay,
                layer_decay=recipe.layer_decay,
                head_lr=recipe.lr * recipe.head_lr,
            )
        )
        self._peak_lrs = [float(group["lr"]) for group in self._adamw.param_groups]
        self._scaler = torch.amp.GradScaler(device.type, enabled=half_precision(device) is torch.float16)

    def step(self, losses: Iterable[torch.Tensor], factor: float) -> float:
        """One step down the gradient of the sum of `losses`, clipped to the recipe's norm; return the sum.

        Args:
            losses: scalars, one for each part of the batch; the next one is computed after the gradient of
                the one before, so only one part's activations are held.
            factor: of the peak learning rates.
        """
        for group, peak in zip(self._adamw.param_groups, self._peak_lrs, strict=True):
            group["lr"] = peak * factor
        self._adamw.zero_grad(set_to_none=True)
        total = 0.0
        for loss in losses:
            self._scaler.scale(loss).backward()
            total += float(loss.detach())
        self._scaler.unscale_(self._adamw)
        if self._clip_norm > 0:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._scaler.step(self._adamw)
        self._scaler.update()
        return total

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(AdamW's state, the loss scaler's state)."""
        return self._adamw.state_dict(), self._scaler.state_dict()

    def restore(self, adamw: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Load what `state` returned."""
        self._adamw.load_state_dict(adamw)
        self._scaler.load_state_dict(scaler)
