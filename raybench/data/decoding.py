"""Files and bytes → uint8 RGB arrays, and the hash of an image's pixels."""

import hashlib
import io
import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from raybench.core.errors import UnreadableImageError

RgbImage = UInt8[np.ndarray, "h w 3"]

# What PIL raises on damaged files, by decoder: a truncated JPEG is an OSError, a PNG with a wrong checksum a
# SyntaxError, a broken header a ValueError or struct.error, an absurd size a DecompressionBombError.
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def decode(content: bytes | Path | None, name: str) -> RgbImage:
    """Decode one image of any format PIL reads; grey and palette images become RGB, alpha is dropped.

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
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            return np.asarray(to_rgb(image))
    except _DECODING_ERRORS as error:
        raise UnreadableImageError(
            f"cannot read the image {name} ({type(error).__name__}: {error}); "
            "repair or delete it, or set `unreadable: skip` on its dataset."
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB. A palette with transparency is first converted to RGBA, as a warning of PIL asks."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def pixel_hash(image: RgbImage) -> str:
    """32 hexadecimal digits of the SHA-256 of size and pixels: equal for one image in two file formats."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:32]
