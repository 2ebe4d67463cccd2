"""Digital corruptions: light and colour, elastic distortion, coarse pixels, compression."""

import io
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from kornia.color import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from raybench.perturbations.corruptions.registry import Draws, Pixels, corruption

ELASTIC_UNIT = 244 / 224
"""The authors' lengths are multiples of 244 pixels; their slip for 224 is kept."""


@corruption("brightness", levels=(0.1, 0.2, 0.3, 0.4, 0.5))
def brightness(pixels: Pixels, level: float, draws: Draws) -> Pixels:
    """Add `level` to V of HSV. As the original."""
    hue, saturation, value = rgb_to_hsv(pixels).unbind(1)
    return hsv_to_rgb(torch.stack([hue, saturation, (value + level).clamp(0, 1)], dim=1))


@corruption("contrast", levels=(0.4, 0.3, 0.2, 0.1, 0.05))
def contrast(pixels: Pixels, level: float, draws: Draws) -> Pixels:
    """Multiply distances from each channel's mean by `level`. As the original."""
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    return (pixels - mean) * level + mean


@corruption("saturate", levels=((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)), is_extra=True)
def saturate(pixels: Pixels, level: tuple[float, float], draws: Draws) -> Pixels:
    """Scale and shift S of HSV. As the original, whose severities 1 and 2 fade and 3 to 5 deepen colours."""
    hue, saturation, value = rgb_to_hsv(pixels).unbind(1)
    return hsv_to_rgb(torch.stack([hue, (saturation * level[0] + level[1]).clamp(0, 1), value], dim=1))


@corruption(
    "elastic_transform",
    levels=((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
)
def elastic_transform(pixels: Pixels, level: tuple[float, float, float], draws: Draws) -> Pixels:
    """A random affine map, then displacements that vary smoothly. As the original."""
    size = pixels.shape[-1]
    strength, smoothness, shear = (part * ELASTIC_UNIT * size for part in level)
    sources = [_affine_sources(size, shear, draw) for draw in draws]
    sheared = _resampled(pixels, sources, is_edge_doubled=False)
    sources = [_displaced_sources(size, strength, smoothness, draw) for draw in draws]
    return _resampled(sheared, sources, is_edge_doubled=True)


def _affine_sources(size: int, shear: float, draw: np.random.Generator) -> Float[np.ndarray, "s s 2"]:
    """Source (x, y) of each pixel under the affine map that moves three points by up to `shear` pixels."""
    middle, third = size // 2, size // 3
    far, near = float(middle + third), float(middle - third)
    corners = np.array([[far, far], [far, near], [near, near]])
    moved = corners + draw.uniform(-shear, shear, corners.shape)
    affine = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)  # From the result to the source.
    y, x = np.indices((size, size))
    return np.asarray(np.stack([x, y, np.ones_like(x)], axis=-1) @ affine)


def _displaced_sources(
    size: int, strength: float, smoothness: float, draw: np.random.Generator
) -> Float[np.ndarray, "s s 2"]:
    """Source (x, y) of each pixel under displacements: smoothed uniform noise times `strength`."""
    y, x = np.indices((size, size))
    noise = [draw.uniform(-1, 1, (size, size)) for _ in range(2)]
    smooth = [gaussian_filter(field, smoothness, mode="reflect", truncate=3) for field in noise]
    return np.stack([x + strength * smooth[0], y + strength * smooth[1]], axis=-1)


def _resampled(pixels: Pixels, sources: list[np.ndarray], *, is_edge_doubled: bool) -> Pixels:
    """Bilinear samples at (x, y) in pixels; beyond the border mirrored, with the edge pixel once or twice."""
    size = pixels.shape[-1]
    positions = np.stack(sources)
    grid = (2 * positions + 1) / size - 1 if is_edge_doubled else positions / (size - 1) * 2 - 1
    return F.grid_sample(
        pixels,
        torch.from_numpy(grid.astype(np.float32)).to(pixels.device),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=not is_edge_doubled,
    )


@corruption("pixelate", levels=(0.6, 0.5, 0.4, 0.3, 0.25))
def pixelate(pixels: Pixels, level: float, draws: Draws) -> Pixels:
    """Shrink to a share `level` and enlarge again, both by PIL's box filter. As the original."""
    size = pixels.shape[-1]
    small = max(1, int(size * level))

    def shrink(image: Image.Image) -> Image.Image:
        return image.resize((small, small), Image.Resampling.BOX).resize((size, size), Image.Resampling.BOX)

    return _by_pil(pixels, shrink)


@corruption("jpeg_compression", levels=(25, 18, 15, 10, 7))
def jpeg_compression(pixels: Pixels, level: int, draws: Draws) -> Pixels:
    """Encode as JPEG of quality `level` and decode again, by PIL. As the original."""

    def compress(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=level)
        return Image.open(buffer).convert("RGB")

    return _by_pil(pixels, compress)


def _by_pil(pixels: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    as_bytes = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in as_bytes])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).to(pixels.device).to(torch.float32).div_(255)
