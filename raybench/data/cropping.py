"""One image → the square a backbone sees: timm's evaluation resize and crop, for each of its crop modes."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from raybench.catalog.feature_settings import Resize
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

MAX_TALL = 1.9
"""Height as a multiple of the width up to which an image is cropped while it is resized."""
MAX_DENOMINATOR = 1024
"""Up to this power of two, scale × position of images up to MAX_EXACT_SIDE is exact in single precision."""
MAX_EXACT_SIDE = 8192

Size = tuple[int, int]
"""(height, width), pixels."""


def fit_to_square(
    image: RgbImage, preprocessing: Preprocessing, resize: Resize = "exact"
) -> UInt8[np.ndarray, "s s 3"]:
    """Resize to floor(input_size / crop_pct) as the crop mode says, then cut or pad the centre to input_size.

    `center` resizes the short side, `squash` both sides, `border` the long side and pads with the mean
    colour. Equal to the last bit to `timm.data.create_transform(..., is_training=False)`, padding included:
    `center` and `squash` pad with black where crop_pct is above 1. An image of the right size is returned
    without a copy.

    With `resize` "fast", torch resizes bilinearly and bicubically; pixels may differ by two of 255 levels.
    """
    size = preprocessing.input_size
    scaled = math.floor(size / preprocessing.crop_pct)
    before: Size = (image.shape[0], image.shape[1])
    after = _resized_size(before, scaled, preprocessing.crop_mode)
    resampling = _RESAMPLING[preprocessing.interpolation]
    if after != before:
        if max(after) > MAX_ASPECT * max(size, min(after)):
            return _resize_centre(image, after, size, resampling)
        if resize == "fast" and preprocessing.interpolation in ("bilinear", "bicubic"):
            image = _resize_by_torch(image, after, preprocessing.interpolation)
        elif max(after) > size and _resizes_rows_first(before, preprocessing):
            image = _resize_window(image, after, size, resampling)
        else:
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


def _resize_by_torch(image: RgbImage, after: Size, interpolation: str) -> RgbImage:
    pixels = torch.from_numpy(image if image.flags.writeable else image.copy()).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(pixels, size=after, mode=interpolation, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _resizes_rows_first(before: Size, preprocessing: Preprocessing) -> bool:
    """Whether Pillow certainly resizes along the width first, then along the height.

    Pillow 13 begins with the height for some shapes: at kept proportions above a height of twice the width
    (none of 6,000 sizes tried below it did). Earlier versions never do.
    """
    is_proportional = preprocessing.crop_mode != "squash"
    is_two_passes = preprocessing.interpolation != "nearest"
    return is_two_passes and is_proportional and before[0] <= MAX_TALL * before[1]


class _Window(NamedTuple):
    """One axis of a resize of which only the output range [start, stop) is kept."""

    length: int
    target: int
    start: int
    stop: int
    low: int
    high: int
    """The range depends on input pixels [low, high) only."""

    @property
    def scale(self) -> float:
        return self.length / self.target

    @property
    def is_exact(self) -> bool:
        """Whether Pillow weighs the part [low, high) with the same weights as the whole axis.

        It takes the part's ends in single precision, which is exact where the scale is a fraction of a power
        of two, such as 375 / 256.
        """
        denominator = self.target // math.gcd(self.length, self.target)
        is_power_of_two = denominator & (denominator - 1) == 0
        return is_power_of_two and denominator <= MAX_DENOMINATOR and self.length <= MAX_EXACT_SIDE

    @classmethod
    def of(cls, length: int, target: int, size: int) -> "_Window":
        """The centre `size` of an axis resized from `length` to `target`."""
        start = max(0, round((target - size) / 2.0))
        stop = min(target, start + size)
        scale = length / target
        margin = math.ceil(MAX_SUPPORT * max(scale, 1.0)) + 1
        low = max(0, math.floor(start * scale) - margin)
        return cls(length, target, start, stop, low, min(length, math.ceil(stop * scale) + margin))


def _resize_window(
    image: RgbImage, after: Size, size: int, resampling: Image.Resampling
) -> UInt8[np.ndarray, "h w 3"]:
    """The centre of the image resized to `after`, at most `size` long and wide.

    Equal to the last bit to cutting it from the whole resized image: Pillow resizes along the width, then
    along the height, with 8 bits in between. Rows that no kept pixel depends on are left out of the first
    pass, and columns that are not kept out of the second.
    """
    rows, columns = (_Window.of(n, m, size) for n, m in zip(image.shape[:2], after, strict=True))
    height, width = rows.high - rows.low, columns.stop - columns.start
    if columns.is_exact:
        part = Image.fromarray(np.ascontiguousarray(image[rows.low : rows.high, columns.low : columns.high]))
        ends = (columns.start * columns.scale - columns.low, columns.stop * columns.scale - columns.low)
        part = part.resize((width, height), resampling, box=(ends[0], 0, ends[1], height))
    else:
        part = Image.fromarray(image[rows.low : rows.high]).resize((columns.target, height), resampling)
        part = part.crop((columns.start, 0, columns.stop, height))
    if rows.is_exact:
        top, bottom = rows.start * rows.scale - rows.low, rows.stop * rows.scale - rows.low
        kept = part.resize((width, rows.stop - rows.start), resampling, box=(0, top, width, bottom))
        return np.asarray(kept)
    if height < rows.length:  # The weights depend on where a row lies in the whole image.
        whole = Image.new("RGB", (width, rows.length))
        whole.paste(part, (0, rows.low))
        part = whole
    return np.asarray(part.resize((width, rows.target), resampling))[rows.start : rows.stop]


def _resize_centre(
    image: RgbImage, after: Size, size: int, resampling: Image.Resampling
) -> UInt8[np.ndarray, "s s 3"]:
    """The centre square of the image resized to `after`, computed from the part of the image it shows."""
    rows, columns = (_Window.of(n, m, size) for n, m in zip(image.shape[:2], after, strict=True))
    part = Image.fromarray(np.ascontiguousarray(image[rows.low : rows.high, columns.low : columns.high]))
    left, right = (end * columns.scale - columns.low for end in (columns.start, columns.stop))
    top, bottom = (end * rows.scale - rows.low for end in (rows.start, rows.stop))
    shape = (columns.stop - columns.start, rows.stop - rows.start)
    resized = np.asarray(part.resize(shape, resampling, box=(left, top, right, bottom)))
    return _crop(_pad(resized, size, (0.0, 0.0, 0.0)), size)


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
