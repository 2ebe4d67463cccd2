"""Random views: crops, mirroring, jitter and erasing against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from raybench.perturbations.views import (
    Box,
    EpochRandom,
    Purpose,
    View,
    ViewSettings,
    draw_crop,
    draw_erased,
    draw_jitter,
)

INPUT, OUTPUT = 24, 16
SETTINGS = {"input_side": INPUT, "output_side": OUTPUT, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}
EVERYTHING = {
    "min_crop": 0.08,
    "random_interpolation": True,
    "flip": True,
    "rand_augment_layers": 2,
    "color_jitter": 0.4,
    "erasing": 0.5,
}
PLAIN = View(
    crop=Box(0, 0, OUTPUT, OUTPUT),
    is_bicubic=False,
    is_mirrored=False,
    operations=(),
    jitter=None,
    erased=None,
    noise=None,
)


def generators(num):
    return [EpochRandom(0, 1).generator(Purpose.VIEW, index) for index in range(num)]


def draws(num, **settings):
    chosen = ViewSettings(**SETTINGS, **settings)
    return [chosen.draw(rng) for rng in generators(num)]


def pixels(num):
    return torch.rand(num, 3, INPUT, INPUT, generator=torch.Generator().manual_seed(0))


def test_crops_have_the_stated_areas_and_aspect_ratios_and_lie_in_the_image():
    side = 400
    boxes = [draw_crop(rng, side, 0.08) for rng in generators(2000)]
    areas = np.array([box.height * box.width for box in boxes]) / side**2
    ratios = np.array([box.width / box.height for box in boxes])
    assert 0.075 < areas.min() < 0.1
    assert areas.max() > 0.9
    assert 0.74 < ratios.min() < 0.77
    assert 1.3 < ratios.max() < 1.35
    assert abs(np.log(ratios).mean()) < 0.02
    assert all(0 <= box.top <= side - box.height and 0 <= box.left <= side - box.width for box in boxes)
    assert min(box.top for box in boxes) == min(box.left for box in boxes) == 0


def test_a_crop_of_the_whole_area_is_the_image():
    # Only an aspect ratio of nearly 1 fits, or after ten attempts the whole image.
    boxes = [draw_crop(rng, 50, 1.0) for rng in generators(20)]
    assert Box(0, 0, 50, 50) in boxes
    assert min(box.height * box.width for box in boxes) > 0.95 * 50**2


def test_erased_boxes_have_the_stated_areas_and_aspect_ratios():
    side = 400
    boxes = [box for rng in generators(2000) if (box := draw_erased(rng, side))]
    areas = np.array([box.height * box.width for box in boxes]) / side**2
    ratios = np.array([box.height / box.width for box in boxes])
    assert 0.019 < areas.min() < 0.025
    assert 0.3 < areas.max() < 0.34
    assert 0.29 < ratios.min() < 0.33
    assert 3.0 < ratios.max() < 3.4
    assert abs(np.log(ratios).mean()) < 0.06
    assert all(0 <= box.top <= side - box.height and 0 <= box.left <= side - box.width for box in boxes)


def test_probabilities_of_mirroring_erasing_and_bicubic_filters():
    views = draws(2000, flip=True, erasing=0.25, random_interpolation=True)
    assert 900 < sum(view.is_mirrored for view in views) < 1100
    assert 900 < sum(view.is_bicubic for view in views) < 1100
    assert 420 < sum(view.erased is not None for view in views) < 580


def test_parts_that_are_off_do_nothing():
    for view in draws(50):
        assert not view.is_mirrored
        assert not view.is_bicubic
        assert view.operations == ()
        assert view.jitter is None
        assert view.erased is None


def test_jitter_stays_within_its_strength():
    factors = np.array([draw_jitter(rng, 0.4) for rng in generators(1000)])
    assert factors[:, :3].min() == pytest.approx(0.6, abs=0.01)
    assert factors[:, :3].max() == pytest.approx(1.4, abs=0.01)
    assert np.abs(factors[:, 3]).max() == pytest.approx(0.1 * 2 * np.pi, rel=0.02)


def applied(view, images=None):
    return ViewSettings(**SETTINGS).apply(pixels(1) if images is None else images, [view])


def changed(**changes):
    return replace(PLAIN, **changes)


def test_a_crop_of_the_output_size_is_cut_out_exactly():
    result = applied(changed(crop=Box(3, 5, OUTPUT, OUTPUT)))
    assert torch.equal(result, pixels(1)[:, :, 3 : 3 + OUTPUT, 5 : 5 + OUTPUT])


def test_a_resized_crop_is_the_antialiased_resize_of_the_cut():
    result = applied(changed(crop=Box(1, 2, 20, 21), is_bicubic=True))
    cut = pixels(1)[:, :, 1:21, 2:23]
    expected = torch.nn.functional.interpolate(cut, (OUTPUT, OUTPUT), mode="bicubic", antialias=True)
    torch.testing.assert_close(result, expected.clamp(0, 1))


def test_a_mirrored_image_is_reversed_from_left_to_right():
    assert torch.equal(applied(changed(is_mirrored=True)), applied(PLAIN).flip(3))


def test_erased_pixels_have_the_networks_mean_and_deviation_and_the_others_stay():
    noise = np.random.default_rng(0).standard_normal((3, 8, 9), np.float32)
    result = applied(changed(erased=Box(2, 4, 8, 9), noise=noise))
    expected = applied(PLAIN)
    mean, std = (torch.tensor(SETTINGS[name])[:, None, None] for name in ("mean", "std"))
    expected[0, :, 2:10, 4:13] = (mean + std * torch.from_numpy(noise)).clamp(0, 1)
    assert torch.equal(result, expected)


def test_brightness_is_a_factor():
    result = applied(changed(jitter=(0.7, 1.0, 1.0, 0.0)))
    torch.testing.assert_close(result, 0.7 * applied(PLAIN), atol=1e-4, rtol=1e-4)


def test_everything_at_once_stays_in_the_unit_range_and_keeps_the_input():
    images = pixels(30)
    result = ViewSettings(**SETTINGS, **EVERYTHING).apply(images, draws(30, **EVERYTHING))
    assert result.shape == (30, 3, OUTPUT, OUTPUT)
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1
    assert torch.equal(images, pixels(30))


@pytest.mark.parametrize("size", [1, 7, 30])
def test_views_do_not_depend_on_the_batch_to_the_last_bit(size):
    settings, views, images = ViewSettings(**SETTINGS, **EVERYTHING), draws(60, **EVERYTHING), pixels(60)
    whole = settings.apply(images, views)
    parts = [settings.apply(images[i : i + size], views[i : i + size]) for i in range(0, 60, size)]
    assert torch.equal(torch.cat(parts), whole)


def test_generators_of_examples_epochs_seeds_and_purposes_differ_and_repeat():
    def first(seed, epoch, purpose, index):
        return EpochRandom(seed, epoch).generator(purpose, index).random()

    keys = [(0, 1, Purpose.VIEW, 0), (1, 1, Purpose.VIEW, 0), (0, 2, Purpose.VIEW, 0)]
    keys += [(0, 1, Purpose.MIX, 0), (0, 1, Purpose.VIEW, 1)]
    assert len({first(*key) for key in keys}) == len(keys)
    assert [first(*key) for key in keys] == [first(*key) for key in keys]
