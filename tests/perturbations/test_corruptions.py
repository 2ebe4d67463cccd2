"""Every corruption's contract, and comparisons with the original authors' formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from raybench.catalog.evaluators.corruption import EXTRA, IMAGENET_C
from raybench.perturbations.corruptions import CORRUPTIONS
from raybench.perturbations.corruptions.blur import gaussian, motion
from raybench.perturbations.corruptions.weather import plasma

SEVERITIES = range(1, 6)
RANDOM = {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur"} | {
    *("snow", "frost", "fog", "spatter", "elastic_transform")
}


def images(num=3, size=64):
    """Smooth colourful scenes with edges."""
    y, x = np.mgrid[0:size, 0:size] / size
    scenes = []
    for i in range(num):
        waves = [np.sin(2 * np.pi * ((c + 1) * x + (i + 1) * y + c / 3)) for c in range(3)]
        scene = 0.5 + 0.3 * np.stack(waves)
        scene[:, size // 4 : size // 2, size // 3 : size // 2] = 0.9 - 0.2 * i
        scenes.append(scene)
    return torch.from_numpy(np.stack(scenes).clip(0, 1).astype(np.float32))


IDS = ["a", "b", "c"]


def psnr(damaged, clean):
    return -10 * math.log10(float((damaged - clean).square().mean()) + 1e-12)


def test_the_catalogue_lists_every_corruption():
    assert {name for name, c in CORRUPTIONS.items() if c.is_extra} == set(EXTRA)
    assert {name for name, c in CORRUPTIONS.items() if not c.is_extra} == set(IMAGENET_C)
    assert (len(IMAGENET_C), len(EXTRA)) == (15, 4)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [32, 64, 224])
def test_every_corruption_changes_images_and_stays_in_the_pixel_range(name, size):
    clean = images(2, size)
    for severity in (1, 5):
        damaged = CORRUPTIONS[name](clean, severity, IDS[:2])
        assert damaged.shape == clean.shape
        assert damaged.dtype == torch.float32
        assert 0 <= float(damaged.min()) <= float(damaged.max()) <= 1
        assert psnr(damaged, clean) < 60


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_do_not_depend_on_batching(name):
    clean = images()
    damage = CORRUPTIONS[name]
    whole = damage(clean, 3, IDS)
    np.random.seed(5)
    torch.manual_seed(5)
    parts = [damage(clean[i : i + 1], 3, [IDS[i]]) for i in (2, 0, 1)]
    torch.testing.assert_close(torch.cat(parts), whole[[2, 0, 1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_random_corruptions_differ_between_examples(name):
    clean = images(1).expand(2, -1, -1, -1).clone()
    one, other = CORRUPTIONS[name](clean, 3, ["a", "b"])
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_unknown_severities_are_refused(severity):
    with pytest.raises(ValueError, match=f"fog has severities 1 to 5, got {severity}"):
        CORRUPTIONS["fog"](images(1), severity, ["a"])


NOT_BY_PIXELS = {
    *("saturate", "frost", "fog", "pixelate"),
    *("elastic_transform", "glass_blur", "snow", "spatter"),
}
"""Of these the authors' own severities do not order images pixel by pixel: saturation fades, then deepens;
frost darkens as it covers; fog of severity 4 is rougher, not thicker; coarse pixels may fall on edges;
distortions move pixels; at severity 2 glass moves once instead of twice."""


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - NOT_BY_PIXELS))
def test_images_get_worse_with_severity(name):
    clean = images(12, 224)
    ids = [str(i) for i in range(12)]
    qualities = [psnr(CORRUPTIONS[name](clean, severity, ids), clean) for severity in SEVERITIES]
    assert qualities == sorted(qualities, reverse=True)


def original(name, x, severity):
    """The authors' formulas for what is not random, in NumPy and SciPy; x is [s, s, 3] in [0, 1]."""
    if name == "contrast":
        c = [0.4, 0.3, 0.2, 0.1, 0.05][severity - 1]
        mean = x.mean(axis=(0, 1), keepdims=True)
        return np.clip((x - mean) * c + mean, 0, 1)
    if name == "gaussian_blur":
        c = [1, 2, 3, 4, 6][severity - 1]
        return np.clip(ndimage.gaussian_filter(x, (c, c, 0), mode="nearest", truncate=4.0), 0, 1)
    if name == "brightness":
        import colorsys

        c = [0.1, 0.2, 0.3, 0.4, 0.5][severity - 1]
        flat = [colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(-1, 3)]
        return np.array([colorsys.hsv_to_rgb(h, s, min(v + c, 1)) for h, s, v in flat]).reshape(x.shape)
    if name == "saturate":
        import colorsys

        times, plus = [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)][severity - 1]
        flat = [colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(-1, 3)]
        changed = [colorsys.hsv_to_rgb(h, min(max(s * times + plus, 0), 1), v) for h, s, v in flat]
        return np.array(changed).reshape(x.shape)
    raise KeyError(name)


@pytest.mark.parametrize("name", ["contrast", "gaussian_blur", "brightness", "saturate"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_deterministic_corruptions_equal_the_authors_formulas(name, severity):
    clean = images(1, 224)
    damaged = CORRUPTIONS[name](clean, severity, ["a"])[0].permute(1, 2, 0).numpy()
    expected = original(name, clean[0].permute(1, 2, 0).double().numpy(), severity)
    np.testing.assert_allclose(damaged, expected, atol=2e-3)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_authors_moments(severity):
    grey = torch.full((1, 3, 224, 224), 0.5)

    def damaged(name):
        return CORRUPTIONS[name](grey, severity, ["a"])

    sigma = [0.08, 0.12, 0.18, 0.26, 0.38][severity - 1]
    drawn = np.clip(0.5 + sigma * np.random.default_rng(0).standard_normal(10**6), 0, 1)
    assert float(damaged("gaussian_noise").std()) == pytest.approx(drawn.std(), rel=0.02)
    photons = [60, 25, 12, 5, 3][severity - 1]
    drawn = np.clip(np.random.default_rng(0).poisson(0.5 * photons, 10**6) / photons, 0, 1)
    assert float(damaged("shot_noise").mean()) == pytest.approx(drawn.mean(), rel=0.02)
    assert float(damaged("shot_noise").std()) == pytest.approx(drawn.std(), rel=0.02)
    share = [0.03, 0.06, 0.09, 0.17, 0.27][severity - 1]
    salted = damaged("impulse_noise")
    assert float((salted == 1).float().mean()) == pytest.approx(share / 2, rel=0.1)
    assert float((salted == 0).float().mean()) == pytest.approx(share / 2, rel=0.1)
    speckle = [0.15, 0.2, 0.35, 0.45, 0.6][severity - 1]
    drawn = np.clip(0.5 * (1 + speckle * np.random.default_rng(0).standard_normal(10**6)), 0, 1)
    assert float(damaged("speckle_noise").std()) == pytest.approx(drawn.std(), rel=0.02)


def test_gaussian_blur_equals_scipys():
    image = images(1)[0]
    expected = ndimage.gaussian_filter(image.numpy(), (0, 1.7, 1.7), mode="nearest", truncate=4.0)
    np.testing.assert_allclose(gaussian(image[None], 1.7)[0].numpy(), expected, atol=1e-5)


def test_motion_moves_a_point_along_its_direction_only():
    point = torch.zeros(1, 1, 33, 33)
    point[0, 0, 16, 16] = 1
    drawn = motion(point, 5, 3, [0.0])[0, 0]
    assert float(drawn.sum()) == pytest.approx(1, abs=1e-5)
    assert float(drawn[16].sum()) == pytest.approx(1, abs=1e-5)
    assert drawn[16].nonzero().shape[0] == 11  # 2 · 5 + 1 steps, to one side.
    assert torch.equal(motion(point, 5, 3, [90.0])[0, 0], drawn.T)


@pytest.mark.parametrize("size", [32, 50, 224])
def test_a_plasma_fractal_lies_between_zero_and_one_and_decay_smooths_it(size):
    field = plasma(size, 2.0, np.random.default_rng(0))
    assert field.shape == (size, size)
    assert (field.min(), field.max()) == (0, 1)
    rough = plasma(size, 1.2, np.random.default_rng(0))
    assert np.abs(np.diff(rough)).mean() > np.abs(np.diff(field)).mean()


def test_the_average_level_of_fog_is_that_of_its_formula():
    clean = images(1, 224)
    field = 0.5  # A plasma fractal's mean is near the middle.
    damaged = CORRUPTIONS["fog"](clean, 3, ["a"])
    expected = (clean.mean() + 2.5 * field) * clean.max() / (clean.max() + 2.5)
    assert float(damaged.mean()) == pytest.approx(float(expected), abs=0.12)


def test_jpeg_and_pixelate_equal_pils():
    import io

    from PIL import Image

    clean = images(1, 64)
    picture = Image.fromarray((clean[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=15)
    jpeg = np.asarray(Image.open(buffer))
    box = picture.resize((25, 25), Image.Resampling.BOX).resize((64, 64), Image.Resampling.BOX)
    for name, severity, expected in (("jpeg_compression", 3, jpeg), ("pixelate", 3, np.asarray(box))):
        damaged = (CORRUPTIONS[name](clean, severity, ["a"])[0] * 255).round().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(damaged, expected)
