"""Which numbers of a backbone describe an image: of which layer, pooled how, and at which scale."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float

Pooling = Literal["pooled", "cls", "mean", "max", "gem"]
GEM_FLOOR = 1e-6
"""Activations below it count as it: a power of a negative number would not be real."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One way of describing an image; the default is what the backbone's own classifier would receive.

    `cls` is the class token, `gem` the generalised mean over places. `pooled` of an earlier layer, and `cls`
    of any, is the class token where the architecture has one and the mean over places where it has none.

    Source: Radenović et al., "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018 (GeM).

    >>> FeatureSpec().name, FeatureSpec(1, "gem", 3.0).name, FeatureSpec(scale=0.5).name
    ('pooled', 'layer-1/gem(3.0)', 'pooled/scale(0.5)')
    """

    layer: int = 0
    """0: after the last layer and its norm; k: after the k-th block or stage before the last."""
    pooling: Pooling = "pooled"
    gem_power: float = 3.0
    """Exponent of `gem`, above 0: 1 is the mean, infinity the maximum. Others have none."""

    scale: float = 1.0
    """Side of the input, against the backbone's own; see `load_at_scale`."""

    @property
    def is_own(self) -> bool:
        """Whether this is the backbone's own pooled feature, at whatever scale."""
        return self.layer == 0 and self.pooling == "pooled"

    @property
    def name(self) -> str:
        """What features are cached under: equal for views that give the same numbers by definition."""
        scale = "" if self.scale == 1.0 else f"/scale({self.scale:.4g})"
        if self.is_own:
            return f"pooled{scale}"
        power = f"({float(self.gem_power)})" if self.pooling == "gem" else ""
        return f"layer-{self.layer}/{self.pooling}{power}{scale}"

    def pool(
        self, places: Float[torch.Tensor, "b n d"], cls: Float[torch.Tensor, "b d"] | None
    ) -> Float[torch.Tensor, "b d"]:
        """One vector per image from those of its places (and the class token)."""
        if self.pooling == "max":
            return places.amax(dim=1)
        if self.pooling == "gem":
            powers = places.clamp(min=GEM_FLOOR) ** self.gem_power
            return powers.mean(dim=1) ** (1.0 / self.gem_power)
        if self.pooling in ("cls", "pooled") and cls is not None:
            return cls
        return places.mean(dim=1)
