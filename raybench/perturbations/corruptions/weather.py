"""Weather: snow, frost, fog, and spatter on the lens."""

import numpy as np
import torch
from kornia.color import rgb_to_grayscale

from raybench.perturbations.corruptions.blur import gaussian, motion, zoomed
from raybench.perturbations.corruptions.registry import Draws, Pixels, corruption, scale_of

SnowLevel = tuple[float, float, float, float, float, float, float]
SpatterLevel = tuple[float, float, float, float, float, bool]
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
FROST = (0.85, 0.92, 1.0)


def plasma(size: int, decay: float, draw: np.random.Generator) -> np.ndarray:
    """A plasma fractal in [0, 1], shape [size, size], by diamond and square steps on a torus.

    Args:
        decay: divisor of the roughness at every halving of the step; larger is smoother.
    """
    width = 1 << max(3, (size - 1).bit_length())
    field = np.zeros((width, width))
    step, roughness = width, 100.0
    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        across = corners + np.roll(corners, -1, axis=0)
        squares = across + np.roll(across, -1, axis=1)
        field[half::step, half::step] = squares / 4 + roughness * draw.uniform(-1, 1, corners.shape)
        centres = field[half::step, half::step]
        vertical = centres + np.roll(centres, 1, axis=0)
        horizontal = centres + np.roll(centres, 1, axis=1)
        field[::step, half::step] = (
            vertical + corners + np.roll(corners, -1, axis=1)
        ) / 4 + roughness * draw.uniform(-1, 1, corners.shape)
        field[half::step, ::step] = (
            horizontal + corners + np.roll(corners, -1, axis=0)
        ) / 4 + roughness * draw.uniform(-1, 1, corners.shape)
        step, roughness = half, roughness / decay
    field = field[:size, :size] - field.min()
    return np.asarray(field / field.max())


def _fields(fields: list[np.ndarray], like: Pixels) -> torch.Tensor:
    """Stack one array [s, s] per image to a tensor [b, 1, s, s]."""
    return torch.from_numpy(np.stack(fields).astype(np.float32))[:, None].to(like.device)


def _normal(level: tuple[float, float], pixels: Pixels, draws: Draws) -> torch.Tensor:
    size = pixels.shape[-1]
    return _fields([level[0] + level[1] * draw.standard_normal((size, size)) for draw in draws], pixels)


@corruption("fog", levels=((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)))
def fog(pixels: Pixels, level: tuple[float, float], draws: Draws) -> Pixels:
    """Plasma fractal added to the image, which is rescaled to keep its maximum. As the original."""
    highest = pixels.amax(dim=(1, 2, 3), keepdim=True)
    cloud = _fields([plasma(pixels.shape[-1], level[1], draw) for draw in draws], pixels)
    return (pixels + level[0] * cloud) * highest / (highest + level[0])


@corruption("frost", levels=((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)))
def frost(pixels: Pixels, level: tuple[float, float], draws: Draws) -> Pixels:
    """Ice over the image, both weighted as in the original.

    The original overlays one of five photographs of frost, which raybench does not have the rights to ship.
    Here the ice is drawn: bluish white needles in several directions under a plasma fractal, about as bright
    as the photographs. Numbers are not comparable with those of ImageNet-C's frost.
    """
    size = pixels.shape[-1]
    ice = _fields([plasma(size, 1.6, draw) for draw in draws], pixels)
    needles = torch.zeros_like(ice)
    for _ in range(4):
        sparse = _fields([(draw.random((size, size)) > 0.97).astype(float) for draw in draws], pixels)
        angles = [float(draw.uniform(0, 360)) for draw in draws]
        drawn = motion(sparse, 12 * scale_of(pixels), max(8 * scale_of(pixels), 1.0), angles)
        needles = torch.maximum(needles, drawn / drawn.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6))
    texture = (0.5 * ice + 0.5 * needles).clamp(0, 1)
    colour = torch.tensor(FROST, device=pixels.device).view(1, 3, 1, 1)
    return level[0] * pixels + level[1] * texture * colour


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
    flakes = zoomed(_normal((mean, deviation), pixels, draws), zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    scale = scale_of(pixels)
    angles = [float(draw.uniform(-135, -45)) for draw in draws]
    flakes = motion(flakes, radius * scale, max(sigma * scale, 0.5), angles)
    whitened = torch.maximum(pixels, rgb_to_grayscale(pixels) * 1.5 + 0.5)
    return weight * pixels + (1 - weight) * whitened + flakes + flakes.rot90(2, dims=(2, 3))


@corruption(
    "spatter",
    levels=(
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
    is_extra=True,
)
def spatter(pixels: Pixels, level: SpatterLevel, draws: Draws) -> Pixels:
    """Drops of water (severity 1 to 3) or mud (4, 5) where smoothed noise is high.

    Mud is as in the original. The original shades water by OpenCV's edge detection and distance transform;
    here a drop's brightness is the height of its noise, without that relief.
    """
    mean, deviation, sigma, threshold, last, is_mud = level
    liquid = gaussian(_normal((mean, deviation), pixels, draws), max(sigma * scale_of(pixels), 0.4))
    if is_mud:
        mask = gaussian((liquid > threshold).to(pixels.dtype), max(last * scale_of(pixels), 0.4))
        mask = torch.where(mask < 0.8, 0.0, mask)
        return pixels * (1 - mask) + mask * torch.tensor(MUD, device=pixels.device).view(1, 3, 1, 1)
    drops = torch.where(liquid < threshold, 0.0, liquid)
    drops = last * drops / drops.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    return pixels + drops * torch.tensor(WATER, device=pixels.device).view(1, 3, 1, 1)
