"""One image → the square a backbone sees: timm's evaluation resize and crop, for each of its crop modes."""

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from raybench.core.preprocessing import Preprocessing
from raybench.data.decoding import RgbImage

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
MAX_ASPECT = 64.0
"""Images longer than this many times their width are resized only where the crop needs them: one of
4000 × 1 pixels would otherwise take gigabytes. Their pixels may differ from timm's by one of 255 levels,
because Pillow takes the part as single-precision numbers."""

MAX_SUPPORT = 3.0
"""Pixels that the widest filter, Lanczos, reaches to either side."""

Size = tuple[int, int]
"""(height, width), pixels."""


def fit_to_square(image: RgbImage, preprocessing: Preprocessing) -> UInt8[np.ndarray, "s s 3"]:
    """Resize to floor(input_size / crop_pct) as the crop mode says, then cut or pad the centre to input_size.

    `center` resizes the short side, `squash` both sides, `border` the long side and pads with the mean
    colour. Equal to the last bit to `timm.data.create_transform(..., is_training=False)`, padding included:
    `center` and `squash` pad with black where crop_pct is above 1. An image of the right size is returned
    without a copy.
    """
    size = preprocessing.input_size
    scaled = math.floor(size / preprocessing.crop_pct)
    before: Size = (image.shape[0], image.shape[1])
    after = _resized_size(before, scaled, preprocessing.crop_mode)
    resampling = _RESAMPLING[preprocessing.interpolation]
    if after != before:
        if max(after) > MAX_ASPECT * max(size, min(after)):
            return _resize_centre(image, after, size, resampling)
        image = np.asarray(Image.fromarray(image).resize((after[1], after[0]), resampling))
    fill = preprocessing.mean if preprocessing.crop_mode == "border" else (0.0, 0.0, 0.0)
    return _crop(_pad(image, size, fill), size)


def _resized_size(before: Size, scaled: int, crop_mode: str) -> Size:
    height, width = before
    if crop_mode == "squash":
        return scaled, scaled
    if crop_mode == "border":
        ratio = max(height / scaled, width / scaled)
        return max(1, round(height / ratio)), max(1, round(width / ratio))
    if min(before) == scaled:
        return before
    # torchvision's rounding: the long side is cut, not rounded.
    return (
        scaled if height <= width else int(scaled * height / width),
        scaled if width <= height else int(scaled * width / height),
    )


def _resize_centre(
    image: RgbImage, after: Size, size: int, resampling: Image.Resampling
) -> UInt8[np.ndarray, "s s 3"]:
    """The centre square of the image resized to `after`, computed from the part of the image it shows."""
    (rows, box_y, height), (columns, box_x, width) = (
        _part(length, target, size) for length, target in zip(image.shape[:2], after, strict=True)
    )
    part = Image.fromarray(np.ascontiguousarray(image[rows, columns]))
    box = (box_x[0], box_y[0], box_x[1], box_y[1])
    resized = np.asarray(part.resize((width, height), resampling, box=box))
    return _crop(_pad(resized, size, (0.0, 0.0, 0.0)), size)


def _part(length: int, target: int, size: int) -> tuple[slice, tuple[float, float], int]:
    """Part of an axis that its centre crop depends on, when it is resized from `length` to `target`.

    Returns:
        The range of pixels to cut out, the box within it to resize, and the resulting number of pixels.
    """
    start = max(0, round((target - size) / 2.0))
    stop = min(target, start + size)
    scale = length / target
    margin = math.ceil(MAX_SUPPORT * max(scale, 1.0)) + 1
    low = max(0, math.floor(start * scale) - margin)
    high = min(length, math.ceil(stop * scale) + margin)
    return slice(low, high), (start * scale - low, stop * scale - low), stop - start


def _pad(image: RgbImage, size: int, fill: tuple[float, float, float]) -> RgbImage:
    """Pad each side that is shorter than `size`, the odd pixel at the end, with a colour in [0, 1]."""
    height, width = image.shape[:2]
    missing = (max(0, size - height), max(0, size - width))
    if not any(missing):
        return image
    padded = np.empty((height + missing[0], width + missing[1], 3), dtype=np.uint8)
    padded[:] = [round(255 * value) for value in fill]
    top, left = (gap // 2 for gap in missing)
    padded[top : top + height, left : left + width] = image
    return padded


def _crop(image: RgbImage, size: int) -> UInt8[np.ndarray, "s s 3"]:
    height, width = image.shape[:2]
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return image[top : top + size, left : left + size]
