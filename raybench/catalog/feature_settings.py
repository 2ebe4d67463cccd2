"""How frozen features are computed: `features` of a spec."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
Resize = Literal["exact", "fast"]
GPU_ONLY: tuple[Precision, ...] = ("tf32",)
"""Precisions that a CPU does not have."""
IMAGES_PER_SHARD = 32_768
"""Images of one trial of the features stage: 11 s of a GPU that is fed 3,000 images per second."""
SHARD_MULTIPLE = 256
"""Shards begin at multiples of it, and so where a batch begins: their borders do not change any bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSettings:
    """Settings that change the numbers of frozen features."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}
    precision: Precision = "float32"
    """Arithmetic of the forward pass; features are stored as float32 in any case. `bfloat16` and `float16`
    are torch's autocast, which keeps sensitive operations in float32. `tf32` rounds the inputs of
    convolutions and matrix products to 10 bits on NVIDIA GPUs; `float32` leaves torch's own default there:
    TF32 in cuDNN's convolutions, not in matrix products."""

    resize: Resize = "exact"
    """`exact`: Pillow's resize, whose pixels equal timm's evaluation transform to the last bit. `fast`:
    torch's, for bilinear and bicubic interpolation; pixels differed by two of 255 levels at most."""

    @property
    def changed(self) -> dict[str, Any]:
        """Settings that differ from their defaults. Empty: the features of earlier versions, same key."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    @property
    def text(self) -> str:
        """All settings in words: `precision float32, resize exact`."""
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))


DEFAULT_FEATURES = FeatureSettings()
