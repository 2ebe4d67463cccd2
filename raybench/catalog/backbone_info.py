"""Rows of the backbone catalogue: plain data, so importing this file loads neither torch nor timm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

WeightSource = Literal["timm", "entry_point", "file", "random"]
Family = Literal["cnn", "transformer", "hybrid", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneInfo:
    """One backbone: what builds it, where its weights come from, and how it was pretrained."""

    name: str
    """Catalogue name, e.g. `resnet50.a1_in1k` or `mini_vit.supervised`."""
    timm: str = ""
    """timm model name with its tag, or a bare timm architecture where weights come from elsewhere."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `timm.create_model`, or of the entry point; values that JSON can hold."""
    weights: WeightSource = "timm"
    """`timm`: those timm publishes; `entry_point`: those the entry point loads; `file`: `checkpoint`;
    `random`: initialised with `init_seed`."""
    checkpoint: str | None = None
    """Path of the weights (`weights="file"` only); `package:x` is x in backbones/mini/weights/."""
    init_seed: int = 0
    """torch seed of the initialisation (`weights="random"` only)."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of timm's pretrained config: mean, std, crop_pct, crop_mode, interpolation, input_size
    (pixels). Complete where an entry point builds the network."""
    family: Family = "unknown"
    method: str = "unknown"
    """Pretraining method: `supervised`, `simclr`, `mae`, `dino`, `clip`, ...; `none` without pretraining."""
    pretrain_data: str = "unknown"
    """Pretraining dataset, e.g. `imagenet1k`; `none` without pretraining."""
    pretrain_images: int | None = None
    """Distinct images in the pretraining data; None if unknown, 0 without pretraining."""
    input_size: int | None = None
    """Side of the square input, pixels; None where `preprocessing` or timm decides."""
    params_m: float | None = None
    """Millions of parameters without the head; None if unknown."""
    licence: str = "unknown"
    citation: str = ""
    groups: tuple[str, ...] = ()
    """Groups this row belongs to, without the `@` that a spec writes before them."""
    entry_point: str = ""
    """`package.module:name` of the function that builds the network where timm does not. It is called with
    `pretrained` (True: load its weights) and `kwargs`, and gives an `nn.Module` from normalised images
    [b, 3, s, s] to features [b, num_features]."""

    @classmethod
    def of_timm(cls, name: str) -> "BackboneInfo":
        """A row for a timm model without a catalogue row: timm's weights, nothing else known."""
        return cls(name=name, timm=name)
