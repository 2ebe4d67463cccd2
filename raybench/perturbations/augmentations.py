"""Training-time augmentation on the device, by kornia: batches in [0, 1] → batches in [0, 1].

Mirroring is off by default, because the catalogue does not state which datasets keep their classes when
mirrored (digits, text and road signs do not).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float

ASPECT_RATIO = (3 / 4, 4 / 3)
"""Range of random crops; the default of torchvision and timm."""
JITTER_HUE_SHARE = 0.25
"""Strength of hue jitter relative to brightness, contrast and saturation: SimCLR has 0.2 and 0.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Settings of the random transforms of training images."""

    output_size: int
    """Side of the backbone's square input, pixels."""
    min_crop: float = 0.5
    """Smallest share of the image's area that a random crop keeps, in (0, 1]; ImageNet recipes go to 0.08."""
    flip: bool = False
    """Mirror each image with probability 0.5; only for datasets whose classes do not change by it."""
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
        import kornia.augmentation as transforms  # Deferred: two seconds that only fine-tuning needs.

        size, scale = (self.output_size, self.output_size), (max(self.min_crop, 1e-3), 1.0)
        steps: list[torch.nn.Module] = [
            transforms.RandomResizedCrop(size, scale=scale, ratio=ASPECT_RATIO, align_corners=False)
        ]
        if self.flip:
            steps.append(transforms.RandomHorizontalFlip(p=0.5))
        if (strength := self.color_jitter) > 0:
            hue = strength * JITTER_HUE_SHARE
            steps.append(transforms.ColorJitter(strength, strength, strength, hue, p=1.0))
        return torch.nn.Sequential(*steps)


def augmented(
    pixels: Float[torch.Tensor, "b 3 h w"], module: torch.nn.Module
) -> Float[torch.Tensor, "b 3 s s"]:
    """Apply a built augmentation; rounding beyond [0, 1] is clipped, because backbones refuse such pixels."""
    with torch.no_grad():
        return module(pixels).clamp_(0.0, 1.0)
