"""Files and bytes → uint8 RGB arrays, and the hash of an image's pixels."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from raybench.core.errors import UnreadableImageError
from raybench.core.names import printable

RgbImage = UInt8[np.ndarray, "h w 3"]

FORMATS = frozenset(
    {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP"}
)
"""File formats that are read, by Pillow's names. Others hold drawings (EPS starts an interpreter), textures,
or measurements whose values have no stated range (FITS, SPIDER)."""
FORMATS_OF_16_BIT = ("PNG", "PPM")
"""Formats whose samples have 16 bits at most; Pillow opens some of them as 32-bit integers."""
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
"""Numbers of TIFF's tags."""
WHITE_IS_ZERO = 0
SIGNED = 2


def decode(content: bytes | Path | None, name: str) -> RgbImage:
    """Decode one image of the file formats in FORMATS; `to_rgb` converts its mode.

    Args:
        content: the encoded image, or its path; None where a table has an empty cell.
        name: what to call it in the error: a path, or `file.parquet, row 7`.

    Raises:
        UnreadableImageError: it is not an image, is cut short, or cannot be read; the message has `name`.
    """
    if not isinstance(content, bytes | Path):
        raise UnreadableImageError(
            f"{name} holds no image but {content!r:.60}; remove it, or set `unreadable: skip` on its dataset."
        )
    if isinstance(content, Path) and (problem := _problem_of_file(content)):
        raise UnreadableImageError(
            f"cannot read the image {name}: it {problem}; delete it, or set `unreadable: skip` on its "
            "dataset."
        )
    try:
        encoded = content if isinstance(content, bytes) else content.read_bytes()
        with Image.open(io.BytesIO(encoded)) as image:
            if image.format not in FORMATS:
                raise ValueError(f"its format is {image.format}; convert it to PNG or JPEG")
            decoded = _decode_jpeg(encoded) if image.format == "JPEG" and image.mode in ("RGB", "L") else None
            return np.asarray(to_rgb(image)) if decoded is None else decoded
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise what they like: a damaged AVIF is a RuntimeError.
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, UnidentifiedImageError):
            reason = "its content is no image of a known format"
        raise UnreadableImageError(
            f"cannot read the image {name} ({printable(reason)}); "
            "repair or delete it, or set `unreadable: skip` on its dataset."
        ) from error


def _decode_jpeg(encoded: bytes) -> RgbImage | None:
    """Pixels of a JPEG file by simplejpeg; None if it refuses, so that Pillow decodes it or says why not.

    Both use libjpeg-turbo with the same settings and give the same pixels, but Pillow copies them twice more:
    1.26 ms for 500 × 375 pixels, 0.92 by simplejpeg.
    """
    try:
        return simplejpeg.decode_jpeg(encoded, "RGB", fastdct=False, fastupsample=False)
    except ValueError:
        return None


def _problem_of_file(path: Path) -> str:
    """Why a path must not be opened: reading a pipe would wait for ever; empty if it may be opened."""
    if is_broken_link(path):
        return "is a link to nothing"
    return "is not a regular file" if path.exists() and not path.is_file() else ""


def is_broken_link(path: Path) -> bool:
    """Whether it is a link whose target does not exist."""
    return path.is_symlink() and not path.exists()


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB, by the rules of `docs/images.md`.

    Bits beyond eight are scaled, alpha is dropped, and of several frames the first is taken. timm's transform
    does the same, but clips 16-bit grey to white.

    Raises:
        ValueError: if the values have no stated range (signed and 32-bit integers, floats), or Pillow cannot
            convert the mode.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})  # Of TIFF files only.
    if SIGNED in tags.get(SAMPLE_FORMAT, ()):
        raise ValueError("signed integers have no stated range; save it with 8 or 16 unsigned bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # A warning of Pillow asks for this step.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in FORMATS_OF_16_BIT):
        (bits,) = tags.get(BITS_PER_SAMPLE, (16,))
        return _grey(image, 2**bits - 1, is_inverted=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)
    if image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floats"
        raise ValueError(
            f"mode {image.mode!r} (32-bit {kind}) has no stated range; save it with 8 or 16 bits per channel"
        )
    if image.mode == "La":
        image = image.convert("LA")  # Pillow converts premultiplied grey to nothing else.
    return image.convert("RGB")


def _grey(image: Image.Image, largest: int, *, is_inverted: bool) -> Image.Image:
    """Grey of 0…largest → RGB of 0…255, rounded. (Pillow inverts 8-bit images itself, but no others.)"""
    values = np.asarray(image).astype(np.int64)
    values = largest - values if is_inverted else values
    return Image.fromarray(((values * 255 + largest // 2) // largest).astype(np.uint8)).convert("RGB")


def pixel_hash(image: RgbImage) -> str:
    """32 hexadecimal digits of the SHA-256 of size and pixels: equal for one image in two file formats."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:32]
