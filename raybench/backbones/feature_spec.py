"""Feature spec: layer, pooling, scale."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float

Pooling = Literal["pooled", "cls", "mean", "max", "gem"]
GEM_FLOOR = 1e-6
"""GeM clamps activations from below, because a fractional power of a negative number is not real."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Layer, pooling and input scale of a feature vector; the default is what the backbone's head receives.

    `cls` is the class token, `gem` the generalised mean over tokens. Architectures without a class token use
    the mean over tokens for `cls` and, in earlier layers, for `pooled`.

    Source: Radenović et al., "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018 (GeM).

    >>> FeatureSpec().name, FeatureSpec(1, "gem", 3.0).name, FeatureSpec(scale=0.5).name
    ('pooled', 'layer-1/gem(3.0)', 'pooled/scale(0.5)')
    """

    layer: int = 0
    """0: after the last layer and its norm; k: after the k-th block or stage before the last."""
    pooling: Pooling = "pooled"
    gem_power: float = 3.0
    """Exponent of `gem`, above 0: 1 is the mean, infinity the maximum. Other poolings ignore it."""

    scale: float = 1.0
    """Input side as a multiple of the backbone's own; see `load_at_scale`."""

    @property
    def is_pooled_output(self) -> bool:
        """Whether this is the backbone's own pooled output, at any scale."""
        return self.layer == 0 and self.pooling == "pooled"

    @property
    def name(self) -> str:
        """Cache key part: equal for specs that give the same numbers by definition."""
        scale = "" if self.scale == 1.0 else f"/scale({self.scale:.4g})"
        if self.is_pooled_output:
            return f"pooled{scale}"
        power = f"({float(self.gem_power)})" if self.pooling == "gem" else ""
        return f"layer-{self.layer}/{self.pooling}{power}{scale}"

    def pool(
        self, tokens: Float[torch.Tensor, "b n d"], cls: Float[torch.Tensor, "b d"] | None
    ) -> Float[torch.Tensor, "b d"]:
        """Pool the tokens of each image (patches or positions of a feature map) into one vector."""
        if self.pooling == "max":
            return tokens.amax(dim=1)
        if self.pooling == "gem":
            powers = tokens.clamp(min=GEM_FLOOR) ** self.gem_power
            return powers.mean(dim=1) ** (1.0 / self.gem_power)
        if self.pooling in ("cls", "pooled") and cls is not None:
            return cls
        return tokens.mean(dim=1)
