"""Every file format and mode that Pillow can write, read by raybench and by timm's own loader."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from timm.data import ImageDataset

from raybench.core.errors import UnreadableImageError
from raybench.data.decoding import FORMATS, decode

RAMP = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3) + 100
SUFFIXES = {
    "JPEG": ".jpg",
    "JPEG2000": ".jp2",
    "MPO": ".jpg",
    "TIFF": ".tif",
    "DIB": ".bmp",
    "SPIDER": ".spi",
}
WITHOUT_RANGE = ("I", "F")
"""Modes of 32-bit integers and floats, of which only 16-bit PNM files have a stated range."""


def lab(image: Image.Image) -> Image.Image:
    srgb, cielab = (ImageCms.createProfile(space) for space in ("sRGB", "LAB"))
    return ImageCms.applyTransform(image, ImageCms.buildTransform(srgb, cielab, "RGB", "LAB"))


def images() -> dict[str, Image.Image]:
    """Mode → an image of that mode, for every mode that Pillow has."""
    rgb, grey = Image.fromarray(RAMP), np.linspace(0, 65535, 48).astype("<u2").reshape(8, 6)
    of_16_bit = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2"}
    return {
        **{
            mode: rgb.convert(mode) for mode in ("1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
        },
        **{mode: rgb.convert(mode) for mode in ("LA", "I", "F")},
        "PA": rgb.convert("P").convert("PA"),
        "RGBa": rgb.convert("RGBA").convert("RGBa"),
        "LAB": lab(rgb),
        **{m: Image.frombytes(m, (6, 8), grey.astype(t).tobytes()) for m, t in of_16_bit.items()},
    }


IMAGES = images()


def encoded(image: Image.Image, kind: str) -> bytes | None:
    """The file's content; None if the format cannot hold the mode."""
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind)
    except (OSError, ValueError, KeyError):
        return None
    return buffer.getvalue()


WRITABLE = [
    (kind, mode)
    for kind in sorted(FORMATS)
    for mode, image in IMAGES.items()
    if encoded(image, kind) is not None
]


def by_timm(folder: Path, content: bytes) -> np.ndarray:
    (folder / "a").mkdir()
    (folder / "a" / "image.png").write_bytes(content)  # The content decides how it is read.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of transparent palettes.
        return np.asarray(ImageDataset(str(folder))[0][0])


def opened_mode(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as image:
        return image.mode


def test_pillow_writes_nearly_every_mode_in_some_format():
    written = {mode for _, mode in WRITABLE}
    assert set(IMAGES) - written == set()
    assert {kind for kind, _ in WRITABLE} == FORMATS


@pytest.mark.parametrize(("kind", "mode"), WRITABLE)
def test_pixels_are_those_of_timms_loader_unless_the_table_of_rules_says_otherwise(kind, mode, tmp_path):
    content = encoded(IMAGES[mode], kind)
    opened = opened_mode(content)
    if opened in WITHOUT_RANGE and (kind, opened) != ("PPM", "I"):
        with pytest.raises(UnreadableImageError, match="no stated range"):
            decode(content, "x")
    elif opened.startswith("I"):
        largest = decode(content, "x").max()
        levels = len(np.unique(decode(content, "x")))
        assert (largest, levels) == (255, 48) if mode != "I" else levels >= 1
    else:
        np.testing.assert_array_equal(decode(content, "x"), by_timm(tmp_path, content))


@pytest.mark.parametrize("kind", ["DDS", "ICO", "PCX", "SGI", "SPIDER", "EPS", "QOI", "ICNS"])
def test_other_file_formats_are_refused_by_name_even_under_the_suffix_of_a_photograph(kind):
    content = encoded(IMAGES["L" if kind == "SPIDER" else "RGB"], kind)
    with pytest.raises(UnreadableImageError, match=rf"'cat\.jpg' .*its format is {kind}; convert it to PNG"):
        decode(content, "'cat.jpg'")
