"""Blur by lenses and motion."""

import math

import numpy as np
import torch
from kornia.filters import filter2d, gaussian_blur2d
from torch.nn import functional as F

from raybench.perturbations.corruptions.registry import Draws, Pixels, corruption, scale_of


def gaussian(pixels: torch.Tensor, sigma: float, *, truncate: float = 4.0) -> torch.Tensor:
    """Gaussian blur of [b, c, h, w], kernel cut at `truncate` deviations, edges repeated; scikit-image's."""
    radius = max(1, int(truncate * sigma + 0.5))
    border = (radius,) * 4
    padded = F.pad(pixels, border, mode="replicate")
    kernel = (2 * radius + 1, 2 * radius + 1)
    blurred = gaussian_blur2d(padded, kernel, (sigma, sigma), border_type="constant")
    return blurred[:, :, radius:-radius, radius:-radius]


def motion(pixels: torch.Tensor, radius: float, sigma: float, angles: list[float]) -> torch.Tensor:
    """ImageMagick's motion blur: one-sided Gaussian along one direction per image, at whole pixels."""
    height, width = pixels.shape[-2:]
    length = max(2, 2 * round(radius) + 1)
    weights = np.exp(-(np.arange(length) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    rows = torch.arange(height, device=pixels.device)
    columns = torch.arange(width, device=pixels.device)
    blurred = torch.zeros_like(pixels)
    for image, angle in enumerate(angles):
        down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        for step, weight in enumerate(weights.tolist()):
            y = (rows + math.ceil(step * down - 0.5)).clamp(0, height - 1)
            x = (columns + math.ceil(step * right - 0.5)).clamp(0, width - 1)
            blurred[image] += weight * pixels[image][:, y][:, :, x]
    return blurred


def zoomed(pixels: torch.Tensor, factor: float) -> torch.Tensor:
    """The centre, enlarged by `factor` (≥ 1) to the old size."""
    size = pixels.shape[-1]
    crop = max(1, math.ceil(size / factor))
    start = (size - crop) // 2
    centre = pixels[:, :, start : start + crop, start : start + crop]
    large = F.interpolate(centre, size=max(size, round(crop * factor)), mode="bilinear", align_corners=True)
    trim = (large.shape[-1] - size) // 2
    return large[:, :, trim : trim + size, trim : trim + size]


@corruption("defocus_blur", levels=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)))
def defocus_blur(pixels: Pixels, level: tuple[float, float], draws: Draws) -> Pixels:
    """Blur by a disk of the given radius, its edge softened by a Gaussian. As the original."""
    kernel = disk(level[0] * scale_of(pixels), level[1]).to(pixels.device)
    return filter2d(pixels, kernel, border_type="reflect")


def disk(radius: float, softness: float) -> torch.Tensor:
    """Disk kernel of shape [1, k, k] and sum 1, its edge softened by a Gaussian of that deviation.

    The Gaussian is cut to 3 × 3, above radius 8 to 5 × 5, as in the original.
    """
    reach, smoothing = (8, 3) if radius <= 8 else (math.ceil(radius), 5)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    is_inside = axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2
    inside = is_inside.to(torch.float32)[None, None]
    kernel = gaussian_blur2d(inside, (smoothing, smoothing), (softness, softness), border_type="reflect")[0]
    return kernel / inside.sum()


@corruption("glass_blur", levels=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)))
def glass_blur(pixels: Pixels, level: tuple[float, int, int], draws: Draws) -> Pixels:
    """Blur, round to bytes, replace pixels at random by near ones, blur again. As the original."""
    scale = scale_of(pixels)
    sigma, reach = max(level[0] * scale, 0.3), max(1, round(level[1] * scale))
    moved = (gaussian(pixels, sigma) * 255 + 1e-3).floor() / 255
    for _ in range(level[2]):
        sources = np.stack([copied_from(pixels.shape[-1], reach, draw) for draw in draws])
        index = torch.from_numpy(sources).to(pixels.device)[:, None].expand(-1, 3, -1)
        moved = moved.flatten(2).gather(2, index).view_as(pixels)
    return gaussian(moved, sigma)


def copied_from(size: int, reach: int, draw: np.random.Generator) -> np.ndarray:
    """Flat index of the pixel that each pixel's value comes from, after one pass of the authors' loop.

    Their loop goes from the lower right to the upper left and replaces each pixel, except `reach` pixels at
    the border, by one displaced by [-reach, reach) in both directions; its swap of NumPy views only copies.
    A pixel that was already replaced passes on what it got: chains of copies are followed to their ends.
    """
    num = size * size
    rows, columns = np.indices((size, size)).reshape(2, num)
    down, right = draw.integers(-reach, reach, (2, num))
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    is_replaced = (low > reach) & (high <= size - reach)
    pixel = np.arange(num)
    source = np.where(is_replaced, pixel + down * size + right, pixel)
    # Nodes below `num` are pixels after the pass, the others pixels before it.
    is_replaced_before = is_replaced & is_replaced[source] & (source > pixel)
    node = np.concatenate([np.where(is_replaced_before, source, source + num), pixel + num])
    while not np.array_equal(following := node[node], node):
        node = following
    return node[:num] - num


@corruption("motion_blur", levels=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)))
def motion_blur(pixels: Pixels, level: tuple[float, float], draws: Draws) -> Pixels:
    """Blur in a random direction between −45° and 45°. As the original: ImageMagick's, reimplemented."""
    scale = scale_of(pixels)
    angles = [float(draw.uniform(-45, 45)) for draw in draws]
    return motion(pixels, level[0] * scale, max(level[1] * scale, 0.5), angles)


@corruption("zoom_blur", levels=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)))
def zoom_blur(pixels: Pixels, level: tuple[float, float], draws: Draws) -> Pixels:
    """The mean of the image and of its enlargements up to a factor, in steps. As the original."""
    factors = np.arange(1, level[0], level[1])
    total = pixels + sum(zoomed(pixels, float(factor)) for factor in factors)
    return total / (len(factors) + 1)


@corruption("gaussian_blur", levels=(1.0, 2.0, 3.0, 4.0, 6.0), is_extra=True)
def gaussian_blur(pixels: Pixels, level: float, draws: Draws) -> Pixels:
    """Gaussian blur of the given deviation. As the original."""
    return gaussian(pixels, level * scale_of(pixels))
