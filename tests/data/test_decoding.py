import io
import os

import numpy as np
import pytest
from PIL import Image

from raybench.core.errors import UnreadableImageError
from raybench.data.decoding import decode, pixel_hash, to_rgb
from tests.data import tiff

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


GREY_16 = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_grey_is_scaled_to_eight_bits(kind):
    options = {"irreversible": False} if kind == "JPEG2000" else {}
    decoded = decode(encoded(Image.fromarray(GREY_16), kind, **options), "x")
    expected = np.round(GREY_16 / 257).astype(np.uint8)
    np.testing.assert_array_equal(decoded, np.repeat(expected[..., None], 3, axis=2))


def test_a_portable_map_of_ten_bits_is_scaled_by_its_own_maximum():
    content = b"P5 4 1 1023\n" + b"".join(value.to_bytes(2, "big") for value in (0, 256, 511, 1023))
    assert decode(content, "x")[0, :, 0].tolist() == [0, 64, 127, 255]


def test_floats_are_refused_by_name():
    content = encoded(Image.fromarray(GREY_16.astype(np.float32)), "TIFF")
    with pytest.raises(UnreadableImageError, match=r"'depth.tif'.*32-bit floats\) has no stated range"):
        decode(content, "'depth.tif'")


def row_of(samples: bytes, bits: int, **tags: int) -> list[int]:
    """Grey levels of a TIFF image of one row, as decoded."""
    numbers = {"photometric": tiff.PHOTOMETRIC, "format": tiff.SAMPLE_FORMAT, "extra": tiff.EXTRA_SAMPLES}
    given = {numbers[name]: [value] for name, value in ({"photometric": 1} | tags).items()}
    depths = [bits] * (2 if "extra" in tags else 1)
    width = len(samples) * 8 // sum(depths)
    return decode(tiff.tiff(samples, width, 1, {tiff.BITS: depths, **given}), "x")[0, :, 0].tolist()


def test_12_bit_grey_is_scaled_by_its_own_maximum():
    packed = int("".join(f"{value:012b}" for value in (0, 1024, 2048, 4095)), 2).to_bytes(6, "big")
    assert row_of(packed, 12) == [0, 64, 128, 255]


@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (16, "<u2")])
def test_grey_in_which_zero_is_white_is_inverted_at_every_depth(bits, kind):
    levels = np.array([0, 64, 255]) * (1 if bits == 8 else 257)
    assert row_of(levels.astype(kind).tobytes(), bits, photometric=0) == [255, 191, 0]


def test_32_bit_integers_are_refused_by_name():
    with pytest.raises(UnreadableImageError, match=r"32-bit integers\) has no stated range"):
        row_of(np.array([0, 5], "<u4").tobytes(), 32)


@pytest.mark.parametrize(("bits", "kind"), [(8, "i1"), (16, "<i2"), (32, "<i4")])
def test_signed_integers_are_refused_by_name(bits, kind):
    with pytest.raises(UnreadableImageError, match="signed integers have no stated range"):
        row_of(np.array([-5, 0, 5]).astype(kind).tobytes(), bits, format=2)


def test_premultiplied_grey_is_divided_by_its_alpha():
    assert row_of(bytes([50, 128, 200, 255, 100, 100]), 8, extra=1) == [99, 200, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_dropped_and_the_colours_stay(mode):
    opaque = Image.fromarray(RAMP).convert("L" if mode == "LA" else "P" if mode == "PA" else "RGB")
    image = opaque.convert(mode) if mode != "PA" else opaque.convert("PA")
    decoded = np.asarray(to_rgb(image))
    np.testing.assert_array_equal(decoded, np.asarray(opaque.convert("RGB")))


def sideways() -> Image.Exif:
    """An orientation tag: the picture is to be turned to the right. Writing AVIF takes it out of its Exif."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "AVIF"])
def test_orientation_tags_are_ignored_as_timm_does(kind):
    plain, tagged = (
        encoded(Image.fromarray(RAMP), kind, **options) for options in ({}, {"exif": sideways()})
    )
    assert Image.open(io.BytesIO(tagged)).getexif()[0x0112] == 6
    np.testing.assert_array_equal(decode(tagged, "x"), decode(plain, "x"))


def test_orientation_tags_of_tiff_are_applied_as_timm_does():
    """Pillow applies them when it decodes."""
    content = encoded(Image.fromarray(RAMP), "TIFF", exif=sideways())
    np.testing.assert_array_equal(decode(content, "x"), np.rot90(RAMP, -1))
    np.testing.assert_array_equal(
        decode(content, "x"), np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    )


FRAMES = [Image.fromarray(np.full((16, 16, 3), value, dtype=np.uint8)) for value in (10, 200)]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_taken(kind):
    content = encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert np.abs(decode(content, "x").astype(int) - 10).max() <= 2  # Some formats lose a level.


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


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableImageError, match=r"pipe.png: it is not a regular file; .*unreadable: skip"):
        decode(tmp_path / "pipe.png", "pipe.png")


def test_a_link_to_nothing_is_refused_by_name(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UnreadableImageError, match=r"link.png: it is a link to nothing; .*unreadable: skip"):
        decode(tmp_path / "link.png", "link.png")


@pytest.mark.parametrize("damage", ["none", "cut", "bytes", "end"])
def test_jpeg_pixels_are_pillows_whatever_the_encoding_and_damage(damage):
    rng = np.random.default_rng(3)
    outcomes = set()
    for number in range(60):
        height, width = rng.integers(1, 80, 2)
        rows, columns = np.mgrid[:height, :width]
        wave = 128 + 100 * np.sin(rows / 7)[..., None] * np.cos(columns[..., None] / 9 + np.arange(3))
        image = Image.fromarray((wave + rng.normal(0, 12, wave.shape)).clip(0, 255).astype(np.uint8))
        options = {"quality": int(rng.integers(5, 101)), "progressive": number % 2, "subsampling": number % 3}
        if number % 5 == 0:
            options |= {"keep_rgb": True, "subsampling": 0}
        if number % 7 == 0:
            image = image.convert("L")
        content = bytearray(encoded(image, "JPEG", **options, restart_marker_blocks=number % 4))
        if damage == "cut":
            del content[rng.integers(2, len(content)) :]
        if damage == "bytes":
            content[rng.integers(2, len(content))] = rng.integers(256)
        if damage == "end":
            del content[-2:]
        try:
            with Image.open(io.BytesIO(content)) as opened:
                expected = np.asarray(opened.convert("RGB"))
        except (OSError, SyntaxError):
            with pytest.raises(UnreadableImageError):
                decode(bytes(content), "x")
            outcomes.add("refused")
        else:
            np.testing.assert_array_equal(decode(bytes(content), "x"), expected)
            outcomes.add("equal")
    assert outcomes >= ({"equal"} if damage == "none" else {"refused"})


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
FORMATS = ["AVIF", "WEBP", "JPEG2000", "TIFF", "GIF", "PNG", "JPEG", "BMP", "TGA", "PPM", "DDS", "SPIDER"]


@pytest.mark.filterwarnings("ignore")  # Pillow warns of broken metadata before it gives up.
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_of_any_format_is_an_image_or_a_named_refusal(kind):
    """Under any suffix, as the content decides; some bytes may be changed without harm."""
    content = encoded(NOISE.convert("F") if kind == "SPIDER" else NOISE, kind)
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(content)
        for position in rng.integers(len(content), size=5):
            damaged[position] = rng.integers(256)
        damaged = damaged[: rng.integers(len(content) // 2, len(content) + 1)]
        try:
            assert decode(bytes(damaged), "1.jpg").ndim == 3
        except UnreadableImageError as error:
            assert "cannot read the image 1.jpg" in str(error)  # noqa: PT017
