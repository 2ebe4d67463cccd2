"""Spatter on the lens: drops of water or mud. The shading of drops follows OpenCV's operations, by SciPy."""

import numpy as np
import torch
from scipy import ndimage

from raybench.perturbations.corruptions.blur import gaussian
from raybench.perturbations.corruptions.registry import Draws, Pixels, corruption, scale_of
from raybench.perturbations.corruptions.weather import fields, normal

SpatterLevel = tuple[float, float, float, float, float, bool]
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
CANNY_THRESHOLDS = (50, 150)
"""Sobel gradients above the second start an edge, which continues through those above the first."""
MAX_DISTANCE = 20
"""Distance from an edge, in pixels of a 224-pixel image, at which the shading of a drop ends."""
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


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

    As the original, with exact distances in place of OpenCV's 5 × 5 approximation.
    """
    mean, deviation, sigma, threshold, last, is_mud = level
    scale = scale_of(pixels)
    liquid = gaussian(normal((mean, deviation), pixels, draws), max(sigma * scale, 0.4))
    if is_mud:
        mask = gaussian((liquid > threshold).to(pixels.dtype), max(last * scale, 0.4))
        mask = torch.where(mask < 0.8, 0.0, mask)
        return pixels * (1 - mask) + mask * _colour(MUD, pixels)
    heights = np.floor(255 * torch.where(liquid < threshold, 0.0, liquid)[:, 0].cpu().numpy())
    drops = fields([height * relief(height, scale) for height in heights], pixels)
    drops = last * drops / drops.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    return pixels + drops * _colour(WATER, pixels)


def relief(heights: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Shading of drops by the distance from their edges, lit from the lower right; whole numbers to 255.

    Args:
        heights: whole numbers in [0, 255], shape [s, s].
        scale: of lengths in pixels.
    """
    is_edge = canny_edges(heights)
    distance = np.full(heights.shape, float(MAX_DISTANCE))
    if is_edge.any():
        distance = np.minimum(ndimage.distance_transform_edt(~is_edge) / scale, MAX_DISTANCE)
    smooth = np.floor(_box_mean(distance) + 1e-6).astype(np.uint8)
    lit = ndimage.correlate(_equalized(smooth), EMBOSS, mode="mirror").clip(0, 255)
    return np.asarray(np.rint(_box_mean(lit)))


def canny_edges(heights: np.ndarray) -> np.ndarray:
    """Edges by Canny's detector on 3 × 3 Sobel gradients, their length being |dx| + |dy|; as OpenCV's."""
    dx, dy = (ndimage.sobel(heights.astype(int), axis=axis, mode="nearest") for axis in (1, 0))
    strength = np.pad(np.abs(dx) + np.abs(dy), 1)

    def neighbour(down: int, right: int) -> np.ndarray:
        rows, columns = heights.shape
        return strength[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]

    centre = neighbour(0, 0)
    slope = np.abs(dy) / np.maximum(np.abs(dx), 1e-9)
    is_horizontal, is_vertical = slope < np.tan(np.pi / 8), slope > np.tan(3 * np.pi / 8)
    along_x = (centre > neighbour(0, -1)) & (centre >= neighbour(0, 1))
    along_y = (centre > neighbour(-1, 0)) & (centre >= neighbour(1, 0))
    falling = (centre > neighbour(-1, -1)) & (centre > neighbour(1, 1))
    rising = (centre > neighbour(-1, 1)) & (centre > neighbour(1, -1))
    is_rising = (dx < 0) != (dy < 0)
    is_peak = np.select([is_horizontal, is_vertical, is_rising], [along_x, along_y, rising], falling)
    low, high = CANNY_THRESHOLDS
    labels, count = ndimage.label(is_peak & (centre > low), structure=np.ones((3, 3)))
    has_start = np.zeros(count + 1, dtype=bool)
    has_start[labels[is_peak & (centre > high)]] = True
    has_start[0] = False
    return np.asarray(has_start[labels])


def _equalized(values: np.ndarray) -> np.ndarray:
    """Histogram equalisation of bytes; the smallest value present becomes 0, as in OpenCV."""
    counts = np.bincount(values.ravel(), minlength=256)
    smallest = counts[values.min()]
    if smallest == values.size:
        return values.astype(int)
    table = np.rint((counts.cumsum() - smallest) * 255 / (values.size - smallest))
    return np.asarray(table.astype(int)[values])


def _box_mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.uniform_filter(values.astype(float), 3, mode="mirror"))


def _colour(rgb: tuple[float, float, float], like: Pixels) -> torch.Tensor:
    return torch.tensor(rgb, device=like.device).view(1, 3, 1, 1)
