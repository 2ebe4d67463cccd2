"""What the catalogue knows of a backbone. Plain data: importing this file loads neither torch nor timm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

WeightSource = Literal["timm", "file", "random"]
Family = Literal["cnn", "transformer", "hybrid", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneInfo:
    """One backbone: how timm builds it, where its weights come from, and how it was pretrained."""

    name: str
    """Catalogue name, e.g. `resnet50.a1_in1k` or `mini_vit.supervised`."""
    timm: str
    """timm model name with its tag, or a bare timm architecture where weights come from elsewhere."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Passed to `timm.create_model` as they are; numbers, strings and lists only: JSON holds them."""
    weights: WeightSource = "timm"
    checkpoint: str | None = None
    """Path of the weights (`weights="file"` only); `package:x` is x in backbones/mini/weights/."""
    init_seed: int = 0
    """torch seed of the initialisation (`weights="random"` only)."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of timm's pretrained config: mean, std, crop_pct, interpolation, input_size (pixels)."""
    family: Family = "unknown"
    method: str = "unknown"
    """Pretraining method: `supervised`, `simclr`, `mae`, `dino`, `clip`, ...; `none` without pretraining."""
    pretrain_data: str = "unknown"
    """Pretraining dataset, e.g. `imagenet1k`; `none` without pretraining."""
    pretrain_images: int | None = None
    """How many images pretraining saw (distinct); None when not known, 0 without pretraining."""
    input_size: int | None = None
    """Side of the square input, pixels; None when timm decides."""
    params_m: float | None = None
    """Millions of parameters without the head; None when not known."""
    licence: str = "unknown"
    citation: str = ""
    groups: tuple[str, ...] = ()
    """Names this row answers to as `@group`, without the @."""

    @classmethod
    def of_timm(cls, name: str) -> "BackboneInfo":
        """A row for a timm model the catalogue has no row of: timm's own weights, nothing else known."""
        return cls(name=name, timm=name)
