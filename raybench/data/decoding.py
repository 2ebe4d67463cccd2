"""Files and bytes → uint8 RGB arrays, and the hash of an image's pixels."""

import hashlib
import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from raybench.core.errors import UnreadableImageError

RgbImage = UInt8[np.ndarray, "h w 3"]

FORMATS_OF_16_BIT = ("PNG", "PPM")
"""File formats whose samples have 16 bits at most; Pillow opens some of them as 32-bit integers."""


def decode(content: bytes | Path | None, name: str) -> RgbImage:
    """Decode one image of any format Pillow reads; `to_rgb` converts its mode.

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
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            return np.asarray(to_rgb(image))
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise what they like: a damaged AVIF is a RuntimeError.
        raise UnreadableImageError(
            f"cannot read the image {name} ({type(error).__name__}: {error}); "
            "repair or delete it, or set `unreadable: skip` on its dataset."
        ) from error


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

    Bits beyond eight are scaled, alpha is dropped, orientation tags are ignored, and only the first frame is
    read. timm's transform does the same, but clips 16-bit grey to white.

    Raises:
        ValueError: if the mode has no stated range of values (32-bit integers and floats), or Pillow cannot
            convert it.
    """
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # A warning of Pillow asks for this step.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in FORMATS_OF_16_BIT):
        image = _from_16_bit(image)
    elif image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floats"
        raise ValueError(
            f"mode {image.mode!r} (32-bit {kind}) has no stated range; save it with 8 or 16 bits per channel"
        )
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Grey of 0…65535 → 0…255, rounded."""
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def pixel_hash(image: RgbImage) -> str:
    """32 hexadecimal digits of the SHA-256 of size and pixels: equal for one image in two file formats."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:32]
