"""Sensor noise."""

import numpy as np
import torch

from raybench.perturbations.corruptions.registry import Draws, Pixels, corruption, stack


@corruption("gaussian_noise", levels=(0.08, 0.12, 0.18, 0.26, 0.38))
def gaussian_noise(pixels: Pixels, level: float, draws: Draws) -> Pixels:
    """Normal noise of deviation `level`. As the original."""
    return pixels + level * stack([d.standard_normal(pixels.shape[1:]) for d in draws], pixels)


@corruption("shot_noise", levels=(60.0, 25.0, 12.0, 5.0, 3.0))
def shot_noise(pixels: Pixels, level: float, draws: Draws) -> Pixels:
    """Poisson noise of images that count `level` photons at full brightness. As the original."""
    rates = pixels.cpu().numpy().astype(np.float64) * level
    return stack([d.poisson(rate) / level for d, rate in zip(draws, rates, strict=True)], pixels)


@corruption("impulse_noise", levels=(0.03, 0.06, 0.09, 0.17, 0.27))
def impulse_noise(pixels: Pixels, level: float, draws: Draws) -> Pixels:
    """Salt and pepper in equal parts on a share `level` of all values. As the original (scikit-image's)."""
    drawn = stack([d.random(pixels.shape[1:]) for d in draws], pixels)
    noisy = torch.where(drawn < level / 2, 0.0, pixels)
    return torch.where(drawn > 1 - level / 2, 1.0, noisy)


@corruption("speckle_noise", levels=(0.15, 0.2, 0.35, 0.45, 0.6), is_extra=True)
def speckle_noise(pixels: Pixels, level: float, draws: Draws) -> Pixels:
    """Normal noise in proportion to the value. As the original."""
    return pixels * (1 + level * stack([d.standard_normal(pixels.shape[1:]) for d in draws], pixels))
