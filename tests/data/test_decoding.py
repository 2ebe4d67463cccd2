import io

import numpy as np
import pytest
from PIL import Image

from raybench.core.errors import UnreadableImageError
from raybench.data.decoding import decode, pixel_hash

RAMP = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_png_comes_back_pixel_by_pixel():
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RAMP)), "x"), RAMP)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_rgb_bytes(mode):
    image = Image.fromarray(RAMP).convert(mode)
    decoded = decode(encoded(image, "TIFF" if mode in ("CMYK", "LA") else "PNG"), "x")
    assert decoded.shape == (8, 6, 3)
    assert decoded.dtype == np.uint8


def test_a_transparent_palette_is_decoded_without_a_warning():
    image = Image.fromarray(RAMP).convert("P")
    assert decode(encoded(image, transparency=bytes([0, 128])), "x").shape == (8, 6, 3)


def test_the_same_pixels_in_two_formats_have_one_hash():
    png, bmp = (decode(encoded(Image.fromarray(RAMP), kind), "x") for kind in ("PNG", "BMP"))
    assert pixel_hash(png) == pixel_hash(bmp)


def test_the_same_bytes_in_another_shape_have_another_hash():
    assert pixel_hash(RAMP) != pixel_hash(RAMP.reshape(6, 8, 3))


def test_one_changed_pixel_changes_the_hash():
    changed = RAMP.copy()
    changed[3, 3, 1] ^= 1
    assert pixel_hash(changed) != pixel_hash(RAMP)


JPEG = encoded(
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)), "JPEG"
)
PNG = encoded(Image.fromarray(RAMP))


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", JPEG[: len(JPEG) // 2], PNG[: len(PNG) // 2], PNG[:40] + bytes(8) + PNG[48:]],
    ids=["empty", "text", "cut JPEG", "cut PNG", "damaged PNG"],
)
def test_an_unreadable_image_is_named(content):
    with pytest.raises(UnreadableImageError, match=r"cannot read the image cats/7\.jpg .*unreadable: skip"):
        decode(content, "cats/7.jpg")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnreadableImageError, match="FileNotFoundError"):
        decode(tmp_path / "gone.png", "gone.png")
