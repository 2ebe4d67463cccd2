"""RandAugment against timm's operations on PIL images, and its draws against their distribution."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import LEVEL_TO_ARG, NAME_TO_OP, rand_augment_transform

from raybench.perturbations.rand_augment import NAMES, STRENGTHS, apply_one, apply_operations, draw_operations

SIDE = 48
FILL = (0.5, 0.4, 0.3)
TIMM_NAMES = {
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
    "rotate": "Rotate",
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd",
    "color": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}
EXACT = {"invert", "solarize", "solarize_add", "posterize"}


def picture():
    """Smooth colours with noise, so that resampling and counting both matter."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE))
    waves = np.stack([x, 0.2 + 0.6 * y, 0.5 + 0.3 * np.sin(5 * x + 3 * y)], axis=2)
    return np.clip(255 * waves + rng.normal(0, 4, waves.shape), 0, 255).astype(np.uint8)


def as_pixels(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def timms_result(name, level, monkeypatch, *, is_negative):
    monkeypatch.setattr(random, "random", lambda: 1.0 if is_negative else 0.0)
    timm_name = TIMM_NAMES[name]
    arguments = LEVEL_TO_ARG[timm_name](level, {}) if LEVEL_TO_ARG[timm_name] else ()
    fill = tuple(round(255 * value) for value in FILL)
    options = {"fillcolor": fill, "resample": Image.Resampling.BILINEAR}
    return as_pixels(NAME_TO_OP[timm_name](Image.fromarray(picture()), *arguments, **options))


@pytest.mark.parametrize("level", [2.0, 6.5, 9.0])
@pytest.mark.parametrize("is_negative", [False, True], ids=["positive", "negative"])
@pytest.mark.parametrize("name", NAMES)
def test_every_operation_equals_timms_on_pil_images(name, is_negative, level, monkeypatch):
    expected = timms_result(name, level, monkeypatch, is_negative=is_negative)
    strength = torch.tensor([STRENGTHS[name](level / 10, -1.0 if is_negative else 1.0)])
    result = apply_one(name, as_pixels(picture()), strength, FILL).clamp(0, 1)
    difference = (result - expected).abs() * 255
    assert float(difference.median()) <= (0.01 if name in EXACT else 1.0)
    # PIL rounds between steps and rotates about another half pixel: a few pixels at edges differ by more.
    assert float((difference > 4.0).float().mean()) < 0.04


def test_the_operations_are_timms_increasing_ones():
    policy = rand_augment_transform("rand-m9-mstd0.5-inc1", {})
    assert {op.name for op in policy.ops} == set(TIMM_NAMES.values())
    assert set(TIMM_NAMES) == set(NAMES)
    assert policy.num_layers == 2
    assert {op.prob for op in policy.ops} == {0.5}


def draws(num, *settings):
    return [draw_operations(np.random.default_rng(seed), *settings) for seed in range(num)]


def test_half_of_the_layers_do_something_and_operations_are_equally_likely():
    drawn = draws(3000, 2, 9.0, 0.5)
    names = [operation.name for operations in drawn for operation in operations]
    assert 2800 < len(names) < 3200  # 6000 layers, deviation 39.
    counts = [names.count(name) for name in NAMES]
    assert min(counts) > 140
    assert max(counts) < 260


def test_magnitudes_have_the_stated_mean_and_deviation_and_are_clipped_at_ten():
    drawn = draws(8000, 1, 7.0, 0.5)
    degrees = [abs(op.strength) for operations in drawn for op in operations if op.name == "rotate"]
    magnitudes = np.array(degrees) / 3
    assert abs(magnitudes.mean() - 7.0) < 0.15
    assert 0.4 < magnitudes.std() < 0.6
    high = [op.strength for ops in draws(8000, 1, 10.0, 1.0) for op in ops if op.name == "translate_x"]
    assert max(map(abs, high)) == pytest.approx(0.45)
    assert sum(abs(value) > 0.4499 for value in high) > len(high) / 3
    assert 0.3 < sum(value > 0 for value in high) / len(high) < 0.7


def test_without_deviation_every_magnitude_is_the_stated_one():
    degrees = [abs(op.strength) for ops in draws(500, 1, 9.0, 0.0) for op in ops if op.name == "rotate"]
    assert degrees
    assert degrees == pytest.approx([27.0] * len(degrees))


def test_images_of_one_batch_get_their_own_operations():
    pixels = as_pixels(picture()).repeat(40, 1, 1, 1)
    operations = draws(40, 2, 9.0, 0.5)
    together = apply_operations(pixels.clone(), operations, FILL)
    alone = [apply_operations(pixels[:1].clone(), [of_image], FILL) for of_image in operations]
    assert torch.equal(together, torch.cat(alone))
    assert float(together.min()) >= 0.0
    assert float(together.max()) <= 1.0
    for row, of_image in enumerate(operations):
        assert of_image or torch.equal(together[row], pixels[row])


def test_contrast_of_a_constant_image_stays():
    grey = torch.full((1, 3, 8, 8), 0.3)
    assert torch.equal(apply_one("auto_contrast", grey, torch.zeros(1), FILL), grey)
