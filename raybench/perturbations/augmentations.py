"""Training-time augmentation on the device, by kornia: batches in [0, 1] → batches in [0, 1].

The catalogue does not know which datasets keep their classes when mirrored (digits, text and road signs do
not), so mirroring is off unless asked for.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float

ASPECT_RATIO = (3 / 4, 4 / 3)
"""Of random crops; torchvision's and timm's default."""
JITTER_HUE_SHARE = 0.25
"""Hue turns by a quarter of the change in brightness, contrast and saturation: SimCLR's 0.2 and 0.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What happens to a training image before the backbone sees it."""

    output_size: int
    """Side of the square the backbone sees, pixels."""
    min_crop: float = 0.5
    """Smallest share of the image's area that a random crop keeps, in (0, 1]; ImageNet recipes go to 0.08."""
    flip: bool = False
    """Mirror every other image. Only where classes survive it."""
    color_jitter: float = 0.0
    """Strength of random brightness, contrast, saturation and hue, in [0, 1]; 0 is none."""

    def __post_init__(self) -> None:
        for name, value in (("min_crop", self.min_crop), ("color_jitter", self.color_jitter)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {value}.")

    def build(self) -> torch.nn.Module:
        """A module [b, 3, h, w] → [b, 3, s, s]; it draws from torch's global generator of the device.

        Output stays in [0, 1]: crops interpolate bilinearly and jitter clamps.
        """
        from kornia import (
            augmentation as kornia_augmentation,
        )  # Deferred: two seconds that only fine-tuning needs.

        size = (self.output_size, self.output_size)
        steps: list[torch.nn.Module] = [
            kornia_augmentation.RandomResizedCrop(
                size, scale=(max(self.min_crop, 1e-3), 1.0), ratio=ASPECT_RATIO, align_corners=False
            )
        ]
        if self.flip:
            steps.append(kornia_augmentation.RandomHorizontalFlip(p=0.5))
        if self.color_jitter > 0:
            strength = self.color_jitter
            steps.append(
                kornia_augmentation.ColorJitter(
                    strength, strength, strength, strength * JITTER_HUE_SHARE, p=1.0
                )
            )
        return torch.nn.Sequential(*steps)


def augmented(
    pixels: Float[torch.Tensor, "b 3 h w"], module: torch.nn.Module
) -> Float[torch.Tensor, "b 3 s s"]:
    """Apply a built augmentation; rounding beyond [0, 1] is cut off, because backbones refuse it."""
    with torch.no_grad():
        return module(pixels).clamp_(0.0, 1.0)
