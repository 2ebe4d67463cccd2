"""Optimiser groups for fine-tuning: the learning rate decays from the head towards the stem."""

from typing import Any

from timm.optim import param_groups_layer_decay
from torch import nn

from raybench.backbones.backbone import Backbone


def param_groups(
    backbone: Backbone,
    head: nn.Module,
    lr: float,
    weight_decay: float,
    layer_decay: float,
    head_lr: float | None = None,
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser, each with `params`, `lr` and `weight_decay`; the head's come last.

    Layer `i` from the top, in timm's grouping, gets `lr * layer_decay ** i`, so the backbone's last layer
    `lr`; the head gets `head_lr`, by default `lr`. A network without a `group_matcher` is one layer. Biases,
    norms and parameters that the network excludes (position embeddings) have no weight decay.

    Args:
        layer_decay: in (0, 1]; 1 is one rate for all.
    """
    excluded = backbone.model.no_weight_decay() if hasattr(backbone.model, "no_weight_decay") else ()
    groups = param_groups_layer_decay(
        backbone.model, weight_decay=weight_decay, no_weight_decay_list=excluded, layer_decay=layer_decay
    )
    scaled = [
        {"params": g["params"], "lr": lr * g["lr_scale"], "weight_decay": g["weight_decay"]} for g in groups
    ]
    trained = [p for p in head.parameters() if p.requires_grad]
    for params, decay in (
        ([p for p in trained if p.ndim > 1], weight_decay),
        ([p for p in trained if p.ndim <= 1], 0.0),
    ):
        if params:
            scaled.append({"params": params, "lr": lr if head_lr is None else head_lr, "weight_decay": decay})
    return scaled
