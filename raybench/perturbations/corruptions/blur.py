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
    """Blur by a disk of that radius with a soft edge of that deviation.

    As the original, except that image borders are repeated rather than mirrored, and that the disk's edge is
    drawn analytically, so that fractional radii work.
    """
    radius, softness = level[0] * scale_of(pixels), level[1]
    reach = max(1, math.ceil(radius) + 1)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32, device=pixels.device)
    distance = torch.hypot(axis[:, None], axis[None, :])
    disk = (radius + 0.5 - distance).clamp(0, 1)[None, None]
    disk = gaussian(disk, softness)[0] if softness >= 0.5 else disk[0]
    return filter2d(pixels, disk / disk.sum(), border_type="replicate")


@corruption("glass_blur", levels=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)))
def glass_blur(pixels: Pixels, level: tuple[float, int, int], draws: Draws) -> Pixels:
    """Blur, pixels moved at random within a distance, blur again.

    The original swaps neighbours one after the other. Here all pixels are replaced by random neighbours at
    once, as many times: the look and the distances are the same, but it is no permutation.
    """
    sigma, reach, times = level[0] * scale_of(pixels), max(1, round(level[1] * scale_of(pixels))), level[2]
    size = pixels.shape[-1]
    moved = gaussian(pixels, max(sigma, 0.3))
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    for _ in range(times):
        sources = []
        for draw in draws:
            y = (rows + draw.integers(-reach, reach + 1, rows.shape)).clip(0, size - 1)
            x = (columns + draw.integers(-reach, reach + 1, rows.shape)).clip(0, size - 1)
            sources.append((y * size + x).ravel())
        index = torch.from_numpy(np.stack(sources)).to(pixels.device)[:, None].expand(-1, 3, -1)
        moved = moved.flatten(2).gather(2, index).view_as(pixels)
    return gaussian(moved, max(sigma, 0.3))


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
    """Gaussian blur of that deviation. As the original."""
    return gaussian(pixels, level * scale_of(pixels))
