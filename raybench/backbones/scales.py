"""A backbone at another input size than its own: for descriptors of an image at several scales."""

import warnings
from dataclasses import replace
from typing import Any

import torch

from raybench.backbones.backbone import Backbone
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError

USUAL_STRIDE = 32
"""Where a model does not state its own."""


def load_at_scale(info: BackboneInfo, scale: float, *, device: torch.device | str = "cpu") -> Backbone:
    """A backbone whose input has `scale` times its usual side, rounded to a multiple of the model's stride.

    Convolutions take any size. Models that are built for one have their position embeddings resampled by
    timm's `set_input_size`, windows and relative positions included.

    Raises:
        CheckpointError: as `load_backbone`; or the architecture takes its own size only.
    """
    backbone = load_backbone(info, device=device)
    if scale == 1.0:
        return backbone
    own = backbone.preprocessing.input_size
    side = side_at(own, scale, stride_of(backbone.model))
    if hasattr(backbone.model, "set_input_size"):
        with warnings.catch_warnings():
            # timm 1.0's interpolation of relative positions (BEiT) indexes as torch 2.9 will no longer take.
            warnings.simplefilter("ignore", UserWarning)
            backbone.model.set_input_size(img_size=(side, side))
    backbone.preprocessing = replace(backbone.preprocessing, input_size=side)
    try:
        with backbone.frozen(), torch.inference_mode():
            backbone(torch.zeros(1, 3, side, side, device=device))
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{info.name!r} takes images of {own} pixels only, not of {side} ({reason}); "
            "take `scales: single`."
        ) from error
    return backbone


def side_at(side: int, scale: float, stride: int) -> int:
    """`scale` times `side`, rounded to a multiple of `stride`, at least one.

    >>> side_at(224, 2**-0.5, 16), side_at(224, 2**0.5, 14), side_at(32, 2**-0.5, 32)
    (160, 322, 32)
    """
    return max(1, round(side * scale / stride)) * stride


def stride_of(model: Any) -> int:
    """Pixels between two places of the last layer, as timm's `feature_info` states it."""
    stated = getattr(model, "feature_info", None)
    last = stated[-1] if isinstance(stated, list) and stated else {}
    return int(last.get("reduction", USUAL_STRIDE))
