"""How frozen features are computed: `features` of a spec."""

from typing import Any, Literal

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
GPU_ONLY: tuple[Precision, ...] = ("tf32",)
"""Precisions that a CPU does not have."""


class FeatureSettings(BaseModel, extra="forbid", strict=True, frozen=True):
    """Settings that change the numbers of frozen features. Stored without those that have their default."""

    precision: Precision = "float32"
    """Arithmetic of the forward pass; features are stored as float32 in any case. `bfloat16` and `float16`
    are torch's autocast, which keeps sensitive operations in float32. `tf32` rounds the inputs of
    convolutions and matrix products to 10 bits on NVIDIA GPUs; `float32` leaves torch's own default there:
    TF32 in cuDNN's convolutions, not in matrix products."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {k: v for k, v in handler(self).items() if v != type(self).model_fields[k].default}

    @property
    def changed(self) -> dict[str, Any]:
        """Settings that differ from their defaults. Empty: the features of earlier versions, same key."""
        return self.model_dump()

    @property
    def text(self) -> str:
        """All settings in words: `precision float32`."""
        return ", ".join(f"{name} {getattr(self, name)}" for name in type(self).model_fields)


DEFAULT_FEATURES = FeatureSettings()
