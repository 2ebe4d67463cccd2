"""RandAugment (Cubuk et al., NeurIPS 2020), drawn per image and applied on the device.

Fifteen operations whose strength increases with the magnitude, as in timm's `rand-m9-mstd0.5-inc1`
(`timm/data/auto_augment.py`). Geometric ones resample bilinearly and fill with the mean colour.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

MAX_MAGNITUDE = 10.0
APPLY_PROBABILITY = 0.5
"""Probability that a drawn operation is applied; timm's default."""

Pixels = Float[torch.Tensor, "b 3 h w"]
Strengths = Float[torch.Tensor, " b"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation on one image."""

    name: str
    strength: float
    """Argument of the operation: degrees, bits, threshold, factor or share of the side; see `STRENGTHS`."""


STRENGTHS: dict[str, Callable[[float, float], float]] = {
    # (magnitude / 10 in [0, 1], sign) → strength.
    "auto_contrast": lambda share, sign: 0.0,
    "equalize": lambda share, sign: 0.0,
    "invert": lambda share, sign: 0.0,
    "rotate": lambda share, sign: sign * 30.0 * share,  # Degrees.
    "posterize": lambda share, sign: 4 - int(4 * share),  # Bits kept.
    "solarize": lambda share, sign: (
        (256 - min(256, int(256 * share))) / 255
    ),  # Pixels from here are inverted.
    "solarize_add": lambda share, sign: min(128, int(110 * share)) / 255,  # Added to dark pixels.
    "color": lambda share, sign: _factor(share, sign),
    "contrast": lambda share, sign: _factor(share, sign),
    "brightness": lambda share, sign: _factor(share, sign),
    "sharpness": lambda share, sign: _factor(share, sign),
    "shear_x": lambda share, sign: sign * 0.3 * share,
    "shear_y": lambda share, sign: sign * 0.3 * share,
    "translate_x": lambda share, sign: sign * 0.45 * share,  # Share of the side.
    "translate_y": lambda share, sign: sign * 0.45 * share,
}
"""Operation → its strength at a magnitude."""
NAMES = tuple(STRENGTHS)


def _factor(share: float, sign: float) -> float:
    """Enhancement factor: 1 is no change."""
    return max(0.1, 1.0 + sign * 0.9 * share)


def draw_operations(
    rng: np.random.Generator, num_layers: int, magnitude: float, magnitude_std: float
) -> tuple[Operation, ...]:
    """Draw the operations of one image, at most one per layer.

    Each layer draws one operation with replacement and applies it with probability 0.5, at a magnitude from a
    normal distribution clipped to [0, 10] and, where it has one, with a random sign.
    """
    operations = []
    for _ in range(num_layers):
        name = NAMES[rng.integers(len(NAMES))]
        is_applied = rng.random() < APPLY_PROBABILITY
        drawn = min(max(rng.normal(magnitude, magnitude_std), 0.0), MAX_MAGNITUDE)
        sign = 1.0 if rng.random() < 0.5 else -1.0
        if is_applied:
            operations.append(Operation(name=name, strength=STRENGTHS[name](drawn / MAX_MAGNITUDE, sign)))
    return tuple(operations)


def apply_operations(
    pixels: Pixels, operations: Sequence[Sequence[Operation]], fill: tuple[float, float, float]
) -> Pixels:
    """Apply each image's operations in turn; the batch is modified.

    Args:
        pixels: in [0, 1].
        operations: those of each image.
        fill: colour of pixels that geometric operations bring in from outside.
    """
    for layer in range(max((len(of_image) for of_image in operations), default=0)):
        chosen = [(i, of_image[layer]) for i, of_image in enumerate(operations) if len(of_image) > layer]
        for name in sorted({operation.name for _, operation in chosen}):
            rows = [i for i, operation in chosen if operation.name == name]
            strengths = [operation.strength for _, operation in chosen if operation.name == name]
            values = torch.tensor(strengths, dtype=pixels.dtype, device=pixels.device)
            index = torch.tensor(rows, device=pixels.device)
            pixels[index] = apply_one(name, pixels[index], values, fill).clamp_(0.0, 1.0)
    return pixels


def apply_one(name: str, pixels: Pixels, strengths: Strengths, fill: tuple[float, float, float]) -> Pixels:
    """Apply one operation with a strength for each image; the result may exceed [0, 1] by rounding."""
    import kornia.enhance as enhance  # Deferred: two seconds that only fine-tuning needs.

    match name:
        case "auto_contrast":
            return _auto_contrast(pixels)
        case "equalize":
            return enhance.equalize(pixels)
        case "invert":
            return 1.0 - pixels
        case "posterize":
            return enhance.posterize(pixels, strengths.to(torch.int32))
        case "solarize":
            return torch.where(pixels < _per_image(strengths), pixels, 1.0 - pixels)
        case "solarize_add":  # kornia's solarize adds to bright pixels too.
            return torch.where(pixels < 128 / 255, pixels + _per_image(strengths), pixels)
        case "color":
            return enhance.adjust_saturation_with_gray_subtraction(pixels, strengths)
        case "contrast":
            return enhance.adjust_contrast_with_mean_subtraction(pixels, strengths)
        case "brightness":
            return enhance.adjust_brightness_accumulative(pixels, strengths)
        case "sharpness":
            return enhance.sharpness(pixels, strengths)
    return _warp(pixels, _source_matrix(name, strengths, pixels.shape[-1]), fill)


def _per_image(values: Strengths) -> torch.Tensor:
    return values[:, None, None, None]


def _auto_contrast(pixels: Pixels) -> Pixels:
    """Stretch every channel to [0, 1]; a constant one stays, as in PIL."""
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (pixels - low) / (high - low).clamp(min=1e-6), pixels)


def _source_matrix(name: str, strengths: Strengths, side: int) -> list[list[torch.Tensor]]:
    """Rows of the matrix that maps output to input positions, in pixels from the upper left corner."""
    one, zero = torch.ones_like(strengths), torch.zeros_like(strengths)
    match name:
        case "shear_x":
            return [[one, strengths, zero], [zero, one, zero]]
        case "shear_y":
            return [[one, zero, zero], [strengths, one, zero]]
        case "translate_x":
            return [[one, zero, strengths * side], [zero, one, zero]]
        case "translate_y":
            return [[one, zero, zero], [zero, one, strengths * side]]
    angle = strengths * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    centre = side / 2
    return [
        [cos, -sin, centre - centre * cos + centre * sin],
        [sin, cos, centre - centre * sin - centre * cos],
    ]


def _warp(pixels: Pixels, matrix: list[list[torch.Tensor]], fill: tuple[float, float, float]) -> Pixels:
    """Sample each image at the positions that its matrix gives.

    Written out because kornia's `warp_affine` inverts and multiplies matrices of the whole batch, whose
    rounding may depend on its size.
    """
    side = pixels.shape[-1]
    places = torch.arange(side, dtype=pixels.dtype, device=pixels.device) + 0.5
    x, y = places[None, None, :], places[None, :, None]
    source = [a[:, None, None] * x + b[:, None, None] * y + c[:, None, None] for a, b, c in matrix]
    grid = torch.stack(source, dim=3) * (2 / side) - 1
    colour = torch.tensor(fill, dtype=pixels.dtype, device=pixels.device)[None, :, None, None]
    sampled = torch.nn.functional.grid_sample(pixels - colour, grid, align_corners=False)
    return sampled + colour
