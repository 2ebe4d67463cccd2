"""Random views of training images: crop, flip, RandAugment, colour jitter and erasing, drawn per example.

The draws of an image follow from (seed, epoch, example) alone, so its views do not depend on the batch that
it is in. kornia's own modules draw one batch at a time from torch's global generator; here numpy draws, and
kornia's functions apply what was drawn, on the device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from raybench.perturbations.augmentations import ASPECT_RATIO, JITTER_HUE_SHARE
from raybench.perturbations.rand_augment import Operation, apply_operations, draw_operations

MAX_ATTEMPTS = 10
"""Draws of a box before the whole image is taken; as in torchvision and timm."""
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 1 / 0.3)
"""Range of the erased share of the image and of its aspect ratio (Zhong et al., AAAI 2020; timm's values)."""


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


class Purpose(IntEnum):
    """What a generator is for; each purpose has its own random numbers."""

    VIEW = 0
    MIX = 1


class EpochRandom:
    """Independent generators for the examples and pairs of one epoch."""

    def __init__(self, seed: int, epoch: int) -> None:
        self._key = np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint64)

    def generator(self, purpose: Purpose, index: int) -> np.random.Generator:
        """The generator of one example or pair; the order of calls does not matter."""
        counter = np.array([0, 0, index, purpose], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=self._key, counter=counter))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is done to one image."""

    crop: Box
    is_bicubic: bool
    """How the crop is resized; bilinearly otherwise."""
    is_mirrored: bool
    operations: tuple[Operation, ...]
    jitter: tuple[float, float, float, float] | None
    """Factors of brightness, contrast and saturation, and shift of hue in radians."""
    erased: Box | None
    noise: Float[np.ndarray, "3 h w"] | None
    """Standard normal values for the erased pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSettings:
    """Distributions of the random views."""

    input_side: int
    """Side of the square that crops are taken from, pixels."""
    output_side: int
    """Side of the backbone's square input, pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Normalisation of the backbone: colour of unknown pixels, and the noise in erased ones."""
    min_crop: float = 0.5
    random_interpolation: bool = False
    """Resize each crop bilinearly or bicubically with probability 0.5; bilinearly otherwise."""
    flip: bool = False
    rand_augment_layers: int = 0
    rand_augment_magnitude: float = 9.0
    rand_augment_std: float = 0.5
    color_jitter: float = 0.0
    erasing: float = 0.0
    """Probability of erasing a box."""

    def draw(self, rng: np.random.Generator) -> View:
        """Draw the view of one image."""
        crop = draw_crop(rng, self.input_side, self.min_crop)
        is_bicubic = rng.random() < 0.5 and self.random_interpolation
        is_mirrored = rng.random() < 0.5 and self.flip
        operations = draw_operations(
            rng, self.rand_augment_layers, self.rand_augment_magnitude, self.rand_augment_std
        )
        jitter = draw_jitter(rng, self.color_jitter) if self.color_jitter > 0 else None
        erased = draw_erased(rng, self.output_side) if rng.random() < self.erasing else None
        noise = rng.standard_normal((3, erased.height, erased.width), np.float32) if erased else None
        return View(
            crop=crop,
            is_bicubic=is_bicubic,
            is_mirrored=is_mirrored,
            operations=operations,
            jitter=jitter,
            erased=erased,
            noise=noise,
        )

    def apply(
        self, pixels: Float[torch.Tensor, "b 3 h w"], views: Sequence[View]
    ) -> Float[torch.Tensor, "b 3 s s"]:
        """The views of a batch, in [0, 1]; the batch itself is not modified."""
        with torch.no_grad():
            output = _crop(pixels, views, self.output_side)
            mirrored = torch.tensor([view.is_mirrored for view in views], device=pixels.device)
            output = torch.where(mirrored[:, None, None, None], output.flip(3), output)
            output = apply_operations(output, [view.operations for view in views], self.mean)
            output = _jitter(output, views)
            return self._erase(output, views)

    def _erase(self, pixels: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        for row, view in enumerate(views):
            if view.erased is not None and view.noise is not None:
                top, left, height, width = view.erased
                colours = (mean + std * torch.from_numpy(view.noise)).clamp_(0.0, 1.0)
                pixels[row, :, top : top + height, left : left + width] = colours.to(pixels)
        return pixels


def draw_crop(rng: np.random.Generator, side: int, min_area: float) -> Box:
    """A box with a share of the area in [min_area, 1] and an aspect ratio in [3/4, 4/3], log-uniform."""
    low, high = np.log(ASPECT_RATIO)
    for _ in range(MAX_ATTEMPTS):
        area, ratio = rng.uniform(min_area, 1.0) * side * side, math.exp(rng.uniform(low, high))
        height, width = max(1, round(math.sqrt(area / ratio))), max(1, round(math.sqrt(area * ratio)))
        if height <= side and width <= side:
            top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
            return Box(int(top), int(left), height, width)
    return Box(0, 0, side, side)


def draw_erased(rng: np.random.Generator, side: int) -> Box | None:
    """A box with 0.02 to 1/3 of the area and an aspect ratio in [0.3, 1/0.3]; None if none fits."""
    low, high = np.log(ERASED_RATIO)
    for _ in range(MAX_ATTEMPTS):
        area, ratio = rng.uniform(*ERASED_AREA) * side * side, math.exp(rng.uniform(low, high))
        height, width = max(1, round(math.sqrt(area * ratio))), max(1, round(math.sqrt(area / ratio)))
        if height < side and width < side:
            top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
            return Box(int(top), int(left), height, width)
    return None


def draw_jitter(rng: np.random.Generator, strength: float) -> tuple[float, float, float, float]:
    """Factors in [1 - strength, 1 + strength], and a hue shift of at most a quarter strength of a turn."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, size=3).tolist()
    largest = strength * JITTER_HUE_SHARE * 2 * math.pi
    return brightness, contrast, saturation, float(rng.uniform(-largest, largest))


def _crop(pixels: torch.Tensor, views: Sequence[View], side: int) -> torch.Tensor:
    """Cut and resize every image with an antialiased filter, as PIL does; kornia's blurs with a Gaussian."""
    output = pixels.new_empty((len(pixels), 3, side, side))
    for row, view in enumerate(views):
        top, left, height, width = view.crop
        output[row] = torch.nn.functional.interpolate(
            pixels[row : row + 1, :, top : top + height, left : left + width],
            (side, side),
            mode="bicubic" if view.is_bicubic else "bilinear",
            align_corners=False,
            antialias=True,
        )[0]
    return output.clamp_(0.0, 1.0)  # Bicubic filters overshoot.


def _jitter(pixels: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
    """Brightness, contrast, saturation and hue, in this order."""
    import kornia.enhance as enhance  # Deferred: see `rand_augment.apply_one`.

    factors = [view.jitter for view in views if view.jitter is not None]
    if len(factors) != len(views):
        return pixels
    brightness, contrast, saturation, hue = torch.tensor(factors, dtype=pixels.dtype, device=pixels.device).T
    pixels = enhance.adjust_brightness_accumulative(pixels, brightness)
    pixels = enhance.adjust_contrast_with_mean_subtraction(pixels, contrast)
    pixels = enhance.adjust_saturation_with_gray_subtraction(pixels, saturation)
    return enhance.adjust_hue(pixels, hue).clamp_(0.0, 1.0)
