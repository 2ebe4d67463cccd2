"""Weather: snow, frost and fog."""

import numpy as np
import torch
from kornia.color import rgb_to_grayscale

from raybench.perturbations.corruptions.blur import motion, zoomed
from raybench.perturbations.corruptions.registry import Draws, Pixels, corruption, scale_of, stack

SnowLevel = tuple[float, float, float, float, float, float, float]
FROST = (
    ((0.305, 0.585, 0.650), 0.061),
    ((0.787, 0.805, 0.841), 0.077),
    ((0.787, 0.805, 0.841), 0.077),
    ((0.540, 0.599, 0.648), 0.105),
    ((0.441, 0.484, 0.528), 0.140),
)
"""(Mean colour, deviation of brightness within 224 pixels) of the authors' five photographs of frost."""


def plasma(size: int, decay: float, draw: np.random.Generator) -> np.ndarray:
    """The authors' plasma fractal in [0, 1], shape [size, size], by diamond and square steps on a torus.

    The noise of a step has amplitude wibble²: their code multiplies a draw from ±wibble by wibble again.
    As in their code, a point between rows averages the corner to the right instead of the one below.

    Args:
        decay: divisor of wibble at every halving of the step; larger is smoother.
    """
    width = 1 << max(3, (size - 1).bit_length())
    field = np.zeros((width, width))
    step, wibble = width, 100.0

    def mean_with_noise(total: np.ndarray) -> np.ndarray:
        return np.asarray(total / 4 + wibble * draw.uniform(-wibble, wibble, total.shape))

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        across = corners + np.roll(corners, -1, axis=0)
        field[half::step, half::step] = mean_with_noise(across + np.roll(across, -1, axis=1))
        centres = field[half::step, half::step]
        right_pair = corners + np.roll(corners, -1, axis=1)
        field[::step, half::step] = mean_with_noise(centres + np.roll(centres, 1, axis=0) + right_pair)
        field[half::step, ::step] = mean_with_noise(centres + np.roll(centres, 1, axis=1) + right_pair)
        step, wibble = half, wibble / decay
    field -= field.min()
    return np.asarray(field[:size, :size] / field.max())


def fields(fields: list[np.ndarray], like: Pixels) -> torch.Tensor:
    """Stack one array [s, s] per image to a tensor [b, 1, s, s]."""
    return stack(fields, like)[:, None]


def normal(level: tuple[float, float], pixels: Pixels, draws: Draws) -> torch.Tensor:
    size = pixels.shape[-1]
    return fields([level[0] + level[1] * draw.standard_normal((size, size)) for draw in draws], pixels)


@corruption("fog", levels=((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)))
def fog(pixels: Pixels, level: tuple[float, float], draws: Draws) -> Pixels:
    """Plasma fractal added to the image, which is rescaled to keep its maximum. As the original."""
    highest = pixels.amax(dim=(1, 2, 3), keepdim=True)
    cloud = fields([plasma(pixels.shape[-1], level[1], draw) for draw in draws], pixels)
    return (pixels + level[0] * cloud) * highest / (highest + level[0])


@corruption("frost", levels=((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)))
def frost(pixels: Pixels, level: tuple[float, float], draws: Draws) -> Pixels:
    """Ice over the image, both weighted as in the original.

    The original overlays one of five photographs of frost, which raybench does not have the rights to ship.
    Here needles in several directions under a plasma fractal are drawn in the mean colour and contrast of one
    of the five. Brightness is close, texture is not: numbers are not comparable with those of ImageNet-C's
    frost, so the mean corruption errors leave frost out.
    """
    size = pixels.shape[-1]
    photographs = [FROST[draw.integers(len(FROST))] for draw in draws]
    texture = fields([plasma(size, 1.6, draw) for draw in draws], pixels) + _needles(pixels, draws)
    texture = texture - texture.mean(dim=(2, 3), keepdim=True)
    texture = texture / texture.std(dim=(2, 3), keepdim=True)
    colour = torch.tensor([mean for mean, _ in photographs], device=pixels.device)[:, :, None, None]
    contrast = torch.tensor([deviation for _, deviation in photographs], device=pixels.device)
    photograph = (colour + contrast[:, None, None, None] * texture).clamp(0, 1)
    return level[0] * pixels + level[1] * photograph


def _needles(pixels: Pixels, draws: Draws) -> torch.Tensor:
    """Bright lines in four directions, in [0, 1], shape [b, 1, s, s]."""
    size, scale = pixels.shape[-1], scale_of(pixels)
    needles = torch.zeros_like(pixels[:, :1])
    for _ in range(4):
        sparse = fields([(draw.random((size, size)) > 0.97).astype(float) for draw in draws], pixels)
        angles = [float(draw.uniform(0, 360)) for draw in draws]
        drawn = motion(sparse, 12 * scale, max(8 * scale, 1.0), angles)
        needles = torch.maximum(needles, drawn / drawn.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6))
    return needles


@corruption(
    "snow",
    levels=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
)
def snow(pixels: Pixels, level: SnowLevel, draws: Draws) -> Pixels:
    """Flakes: thresholded noise, enlarged and blurred along their fall; the scene whitened. As the original.

    The motion blur is a reimplementation of ImageMagick's.
    """
    mean, deviation, zoom, threshold, radius, sigma, weight = level
    flakes = zoomed(normal((mean, deviation), pixels, draws), zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    scale = scale_of(pixels)
    angles = [float(draw.uniform(-135, -45)) for draw in draws]
    flakes = motion(flakes, radius * scale, max(sigma * scale, 0.5), angles)
    whitened = torch.maximum(pixels, rgb_to_grayscale(pixels) * 1.5 + 0.5)
    return weight * pixels + (1 - weight) * whitened + flakes + flakes.rot90(2, dims=(2, 3))
