"""Load a backbone at another input size, for descriptors of an image at several scales."""

import warnings
from dataclasses import replace
from typing import Any

import torch

from raybench.backbones.backbone import Backbone
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError

DEFAULT_STRIDE = 32
"""Stride of a model that does not state its own, pixels."""


def load_at_scale(info: BackboneInfo, scale: float, *, device: torch.device | str = "cpu") -> Backbone:
    """Load a backbone for inputs of `scale` times its own side, rounded to a multiple of its stride.

    Convolutions take any size. For models built for one size, timm's `set_input_size` resamples position
    embeddings, windows and relative positions.

    Raises:
        CheckpointError: as `load_backbone`; or the architecture takes one size only.
    """
    backbone = load_backbone(info, device=device)
    if scale == 1.0:
        return backbone
    original = backbone.preprocessing.input_size
    side = side_at(original, scale, stride_of(backbone.model))
    if hasattr(backbone.model, "set_input_size"):
        with warnings.catch_warnings():
            # timm 1.0 interpolates relative positions (BEiT) by indexing that torch 2.9 deprecates.
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
            f"{info.name!r} takes images of {original} pixels only, not of {side} ({reason}); "
            "take `scales: single`."
        ) from error
    return backbone


def side_at(side: int, scale: float, stride: int) -> int:
    """Scale `side` and round to a multiple of `stride`, at least one stride.

    >>> side_at(224, 2**-0.5, 16), side_at(224, 2**0.5, 14), side_at(32, 2**-0.5, 32)
    (160, 322, 32)
    """
    return max(1, round(side * scale / stride)) * stride


def stride_of(model: Any) -> int:
    """Pixels between neighbouring positions of the last layer, from timm's `feature_info`."""
    infos = getattr(model, "feature_info", None)
    last = infos[-1] if isinstance(infos, list) and infos else {}
    return int(last.get("reduction", DEFAULT_STRIDE))
