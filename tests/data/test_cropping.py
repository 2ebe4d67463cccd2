"""Resize and crop equal timm's evaluation transform, whatever the crop mode, size and aspect of the image."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform

from raybench.core.preprocessing import Preprocessing
from raybench.data.cropping import MAX_ASPECT, fit_to_square
from tests.pixels import to_pixels

SHAPES = [(8, 8), (24, 24), (27, 40), (61, 37), (50, 33), (200, 27), (31, 100), (480, 640), (23, 25), (1, 90)]
LONG = [(4000, 1), (1, 4000), (3000, 10), (7, 2001), (60, 640)]


def preprocessing(size=24, crop_pct=0.875, interpolation="bilinear", crop_mode="center"):
    return Preprocessing(
        input_size=size,
        crop_pct=crop_pct,
        interpolation=interpolation,
        mean=(0.5, 0.25, 0.75),
        std=(0.25,) * 3,
        crop_mode=crop_mode,
    )


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def timms(image, settings):
    """Pixels in [0, 1] by timm; its normalisation is undone by asking for none."""
    transform = create_transform(
        (3, settings.input_size, settings.input_size),
        is_training=False,
        crop_pct=settings.crop_pct,
        crop_mode=settings.crop_mode,
        interpolation=settings.interpolation,
        mean=settings.mean,
        std=settings.std,
        normalize=False,
    )
    return transform(Image.fromarray(image)).to(torch.float32) / 255


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.95, 0.875, 1.15])
def test_pixels_equal_timms_to_the_last_bit(crop_pct, interpolation, crop_mode):
    settings = preprocessing(24, crop_pct, interpolation, crop_mode)
    for shape in SHAPES:
        image = noise(*shape)
        if crop_mode == "border" and min(shape) * 24 < 0.5 * max(shape):
            continue  # timm would resize the short side to no pixel at all.
        assert torch.equal(to_pixels(image, settings), timms(image, settings)), shape


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    size=st.integers(2, 96),
    crop_pct=st.sampled_from([0.5, 0.875, 0.9, 1.0, 1.15]),
    interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)
def test_cropping_while_resizing_equals_cropping_afterwards(shape, size, crop_pct, interpolation):
    short, long = sorted(shape)
    assume(long <= MAX_ASPECT * short)
    wanted = preprocessing(size, crop_pct, interpolation)
    image = noise(*shape)
    assert torch.equal(to_pixels(image, wanted), timms(image, wanted))


@pytest.mark.parametrize(
    "shape", [(375, 500), (500, 375), (512, 683), (1000, 1500), (8192, 300), (9000, 281)]
)
@pytest.mark.parametrize("crop_pct", [0.875, 0.9])
def test_photographs_equal_timms_to_the_last_bit(shape, crop_pct):
    wanted = preprocessing(224, crop_pct, "bicubic")
    image = noise(*shape)
    assert torch.equal(to_pixels(image, wanted), timms(image, wanted))


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_fast_resize_differs_by_two_levels_at_most_in_few_places(crop_mode, interpolation):
    wanted = preprocessing(224, 0.875, interpolation, crop_mode)
    gaps = []
    for shape in [(375, 500), (640, 480), (200, 150)]:
        image = noise(*shape)
        exact, fast = (fit_to_square(image, wanted, resize).astype(int) for resize in ("exact", "fast"))
        gaps.append(np.abs(exact - fast))
        assert gaps[-1].max() <= 2
        assert gaps[-1].mean() < 0.05
    assert any(gap.any() for gap in gaps)


@pytest.mark.parametrize("interpolation", ["nearest", "lanczos"])
def test_filters_that_torch_lacks_stay_exact(interpolation):
    wanted, image = preprocessing(24, 0.875, interpolation), noise(61, 37)
    np.testing.assert_array_equal(fit_to_square(image, wanted, "fast"), fit_to_square(image, wanted))


@pytest.mark.parametrize(("shape", "interpolation"), [*itertools.product(LONG, ["bilinear", "bicubic"])])
def test_very_long_images_differ_from_timms_by_one_level_at_most(shape, interpolation):
    settings = preprocessing(24, 0.875, interpolation)
    image = noise(*shape)
    torch.testing.assert_close(to_pixels(image, settings), timms(image, settings), rtol=0, atol=1.001 / 255)


def test_a_very_long_image_takes_no_more_memory_than_its_square():
    tracemalloc.start()
    pixels = fit_to_square(noise(8000, 1), preprocessing(224))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels.shape == (224, 224, 3)
    assert peak < 2**22


def test_a_border_shows_the_whole_image_on_the_mean_colour():
    image = np.full((10, 20, 3), 200, dtype=np.uint8)
    square = fit_to_square(image, preprocessing(20, 1.0, crop_mode="border"))
    assert (square[5:15] == 200).all()
    assert (square[:5] == [128, 64, 191]).all()


def test_squashing_keeps_every_corner():
    image = noise(48, 24)
    image[:4, :4], image[-4:, -4:] = 255, 0
    square = fit_to_square(image, preprocessing(24, 1.0, "nearest", "squash"))
    assert (square[0, 0] == 255).all()
    assert (square[-1, -1] == 0).all()


def test_an_image_of_the_right_size_is_not_copied():
    image = noise(24, 24)
    for crop_mode in ("center", "squash", "border"):
        assert np.shares_memory(fit_to_square(image, preprocessing(24, 1.0, crop_mode=crop_mode)), image)
