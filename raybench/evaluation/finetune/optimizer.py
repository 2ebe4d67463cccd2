"""The optimiser of fine-tuning: AdamW with layer-wise learning rates, a schedule and gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from raybench.backbones.layer_decay import param_groups
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.precision import half_precision

MAX_GRADIENT_NORM = 5.0
"""Swin's recipe; a bad first step at a high learning rate then does not end the run."""
WARMUP_SHARE = 0.1
"""Share of all steps; Goldblum et al. 2023 warm up for 5 to 10 of 100 epochs (released configs)."""


def lr_factor(progress: float) -> float:
    """Linear warm-up, then cosine to zero; `progress` is the share of all steps done, in (0, 1).

    >>> [round(lr_factor(p), 3) for p in (0.0, 0.05, 0.1, 0.55, 0.999)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < WARMUP_SHARE:
        return progress / WARMUP_SHARE
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


class Optimizer:
    """AdamW over a classifier's parameters; losses are scaled where products are float16."""

    def __init__(self, model: Classifier, recipe: Recipe, device: torch.device) -> None:
        self._parameters = list(model.parameters())
        self._adamw = torch.optim.AdamW(
            param_groups(
                model.backbone,
                model.head,
                lr=recipe.lr,
                weight_decay=recipe.weight_decay,
                layer_decay=recipe.layer_decay,
            )
        )
        self._peak_lrs = [float(group["lr"]) for group in self._adamw.param_groups]
        self._scaler = torch.amp.GradScaler(device.type, enabled=half_precision(device) is torch.float16)

    def step(self, loss: torch.Tensor, progress: float) -> None:
        """One step down the gradient of `loss`, clipped to MAX_GRADIENT_NORM.

        Args:
            loss: scalar.
            progress: share of all steps done, in (0, 1); sets the learning rates.
        """
        for group, peak in zip(self._adamw.param_groups, self._peak_lrs, strict=True):
            group["lr"] = peak * lr_factor(progress)
        self._adamw.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._adamw)
        nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        self._scaler.step(self._adamw)
        self._scaler.update()

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(AdamW's state, the loss scaler's state)."""
        return self._adamw.state_dict(), self._scaler.state_dict()

    def restore(self, adamw: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Load what `state` returned."""
        self._adamw.load_state_dict(adamw)
        self._scaler.load_state_dict(scaler)
