"""Family and size of a network, read off its modules."""

from dataclasses import dataclass

import timm
import torch
from torch import nn

from raybench.catalog.backbone_info import BackboneInfo, Family
from raybench.core.errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a network is made of."""

    family: Family
    params_m: float
    """Millions of parameters without the head."""


def architecture_of_timm(info: BackboneInfo) -> Architecture:
    """Family and size of a row that timm builds; no weights are read or allocated.

    Raises:
        CheckpointError: timm cannot build it.
    """
    try:
        with torch.device("meta"):
            model = timm.create_model(info.timm, pretrained=False, **{**info.kwargs, "num_classes": 0})
    except Exception as error:  # Whatever an architecture makes of arguments that it does not expect.
        raise CheckpointError(f"timm cannot build {info.timm!r} with {dict(info.kwargs)}: {error}") from error
    num_params = sum(parameter.numel() for parameter in model.parameters())
    return Architecture(family=family_of(model), params_m=round(num_params / 1e6, 2))


def family_of(model: nn.Module) -> Family:
    """Family of a network by what mixes its positions: self-attention, convolutions, or both.

    Convolutions inside the block of an attention (depthwise ones of its MLP, position encodings) belong to
    it. A stem, patch embedding and downsampling leave a transformer a transformer, so it may have half as
    many convolutions outside its blocks as attentions. Attention that only pools the output does not count.
    """
    attentions = [name for name, module in model.named_modules() if _is_attention(module)]
    blocks = tuple({name.rpartition(".")[0] + "." for name in attentions})
    num_convolutions = sum(
        _mixes_positions(module) and not name.startswith(blocks) for name, module in model.named_modules()
    )
    if not attentions:
        return "cnn" if num_convolutions else "unknown"
    return "transformer" if num_convolutions <= len(attentions) / 2 else "hybrid"


def _is_attention(module: nn.Module) -> bool:
    """Self-attention has heads, or a projection to queries; pooling by attention has them too."""
    if "pool" in type(module).__name__.lower():
        return False
    num_heads = getattr(module, "num_heads", getattr(module, "heads", None))
    has_queries = any("qkv" in name or "query" in name for name, _ in module.named_children())
    return has_queries or (isinstance(num_heads, int) and num_heads > 0)


def _mixes_positions(module: nn.Module) -> bool:
    """A convolution whose neighbouring outputs share inputs; patch embeddings and 1 × 1 ones do not."""
    if not isinstance(module, nn.Conv2d):
        return False
    return any(size > step for size, step in zip(module.kernel_size, module.stride, strict=True))
