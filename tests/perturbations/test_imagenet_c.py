"""Corruptions compared with the code of ImageNet-C's authors, written out in NumPy, SciPy and OpenCV.

tests/independent/test_corruptions.py compares with the package `imagecorruptions`, whose elastic transform
differs. Source of the formulas: hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from raybench.catalog.evaluators.corruption import ALEXNET_ERRORS, EXTRA, IMAGENET_C, NOT_COMPARABLE
from raybench.perturbations.corruptions import CORRUPTIONS
from raybench.perturbations.corruptions.blur import copied_from, disk
from raybench.perturbations.corruptions.spatter import canny_edges, relief
from raybench.perturbations.corruptions.weather import plasma

PHOTOGRAPHS = Path(__file__).parents[3] / "shared/data/datasets/imagenet1k_samples_256/val"
SIZE, SEVERITIES = 224, range(1, 6)


def drawn_scenes(num):
    """Noise of a spectrum like photographs' (1 / frequency), in colour."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    spectrum = np.fft.fft2(rng.standard_normal((num, 3, SIZE, SIZE))) / np.maximum(frequency, 1 / SIZE)
    waves = np.fft.ifft2(spectrum).real
    scenes = 0.45 + 0.2 * (waves - waves.mean((2, 3), keepdims=True)) / waves.std((2, 3), keepdims=True)
    return (scenes.clip(0, 1).transpose(0, 2, 3, 1) * 255).astype(np.uint8)


def photographs(num):
    """Real photographs where they are at hand, [num, 224, 224, 3], else drawn scenes."""
    files = sorted(file for file in PHOTOGRAPHS.rglob("*") if file.is_file()) if PHOTOGRAPHS.is_dir() else []
    if len(files) < num:
        return drawn_scenes(num)
    images = [
        Image.open(file).convert("RGB").resize((256, 256)) for file in files[:: len(files) // num][:num]
    ]
    return np.stack([np.asarray(image.crop((16, 16, 240, 240))) for image in images])


def blurred(x, sigma, **options):
    """skimage.filters.gaussian of [h, w] or [h, w, 3]."""
    sigmas = (sigma, sigma, 0)[: x.ndim]
    return ndimage.gaussian_filter(x, sigmas, **{"mode": "nearest", "truncate": 4.0, **options})


def authors_plasma(decay, rng, mapsize=256):
    field = np.zeros((mapsize, mapsize))
    step, wibble = mapsize, 100

    def noisy(total):
        return total / 4 + wibble * rng.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        corners = field[0:mapsize:step, 0:mapsize:step]
        squares = corners + np.roll(corners, shift=-1, axis=0)
        squares += np.roll(squares, shift=-1, axis=1)
        field[step // 2 : mapsize : step, step // 2 : mapsize : step] = noisy(squares)
        down_right = field[step // 2 : mapsize : step, step // 2 : mapsize : step]
        up_left = field[0:mapsize:step, 0:mapsize:step]
        total = down_right + np.roll(down_right, 1, axis=0) + up_left + np.roll(up_left, -1, axis=1)
        field[0:mapsize:step, step // 2 : mapsize : step] = noisy(total)
        total = down_right + np.roll(down_right, 1, axis=1) + up_left + np.roll(up_left, -1, axis=1)
        field[step // 2 : mapsize : step, 0:mapsize:step] = noisy(total)
        step //= 2
        wibble /= decay
    field -= field.min()
    return field / field.max()


def authors_disk(radius, alias_blur):
    reach, ksize = (8, (3, 3)) if radius <= 8 else (radius, (5, 5))
    x, y = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    aliased = np.array(x**2 + y**2 <= radius**2, dtype=np.float32)
    return cv2.GaussianBlur(aliased / aliased.sum(), ksize=ksize, sigmaX=alias_blur)


def authors_shuffle(x, reach, rng):
    """The authors' loop over pixels, in place; with the displacements drawn beforehand."""
    size = len(x)
    down, right = rng.integers(-reach, reach, (2, size * size)).reshape(2, size, size)
    for h in range(size - reach, reach, -1):
        for w in range(size - reach, reach, -1):
            h_prime, w_prime = h + down[h, w], w + right[h, w]
            x[h, w], x[h_prime, w_prime] = x[h_prime, w_prime], x[h, w]
    return x


def authors_zoom(x, factor):
    size = x.shape[0]
    crop = int(np.ceil(size / factor))
    top = (size - crop) // 2
    large = ndimage.zoom(x[top : top + crop, top : top + crop], (factor, factor, 1), order=1)
    trim = (large.shape[0] - size) // 2
    return large[trim : trim + size, trim : trim + size]


def imagemagick_motion(x, radius, sigma, angle):
    """MagickCore's MotionBlurImage: a one-sided Gaussian at whole pixels, the edge repeated."""
    width = 2 * radius + 1
    kernel = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(x, [(width, width), (width, width), (0, 0)], mode="edge")
    total = np.zeros_like(x, dtype=float)
    for i, weight in enumerate(kernel):
        down = int(np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5))
        right = int(np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5))
        rows, columns = width + down, width + right
        total += weight * padded[rows : rows + x.shape[0], columns : columns + x.shape[1]]
    return total


def authors_relief(liquid):
    """The shading of spatter's drops; `liquid` in bytes."""
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    _, distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)
    equal = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    lit = cv2.filter2D(equal, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    return cv2.blur(lit, (3, 3)).astype(np.float32)


def defocus_blur(x, c, rng):
    kernel = authors_disk(*c)
    return np.stack([cv2.filter2D(np.ascontiguousarray(x[..., d]), -1, kernel) for d in range(3)], axis=-1)


def glass_blur(x, c, rng):
    x = (blurred(x, c[0]) * 255).astype(np.uint8)
    for _ in range(c[2]):
        x = authors_shuffle(x, c[1], rng)
    return blurred(x / 255, c[0])


def zoom_blur(x, c, rng):
    factors = np.arange(1, *c)
    return (x + sum(authors_zoom(x, factor) for factor in factors)) / (len(factors) + 1)


def fog(x, c, rng):
    return (x + c[0] * authors_plasma(c[1], rng)[:SIZE, :SIZE, None]) * x.max() / (x.max() + c[0])


def snow(x, c, rng):
    layer = authors_zoom(rng.normal(c[0], c[1], (SIZE, SIZE, 1)), c[2])
    layer[layer < c[3]] = 0
    layer = imagemagick_motion(layer.clip(0, 1), c[4], c[5], rng.uniform(-135, -45))
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    return c[6] * x + (1 - c[6]) * np.maximum(x, grey * 1.5 + 0.5) + layer + np.rot90(layer, k=2)


def spatter(x, c, rng):
    liquid = blurred(rng.normal(c[0], c[1], (SIZE, SIZE)), c[2])
    liquid[liquid < c[3]] = 0
    if c[5]:
        mask = blurred((liquid > c[3]).astype(float), c[4])
        mask = np.where(mask < 0.8, 0, mask)[..., None]
        return x * (1 - mask) + mask * np.array([63, 42, 20]) / 255
    liquid = (liquid * 255).astype(np.uint8)
    drops = liquid * authors_relief(liquid)
    return x + (c[4] * drops / drops.max())[..., None] * np.array([175, 238, 238]) / 255


def elastic_transform(x, c, rng):
    strength, sigma, shear = (244 * part for part in c)
    centre, square = np.float32([SIZE, SIZE]) // 2, SIZE // 3
    points = np.float32([centre + square, [centre[0] + square, centre[1] - square], centre - square])
    moved = points + rng.uniform(-shear, shear, points.shape).astype(np.float32)
    affine = cv2.getAffineTransform(points, moved)
    x = cv2.warpAffine(x.astype(np.float32), affine, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT_101)
    shifts = [rng.uniform(-1, 1, (SIZE, SIZE)) for _ in range(2)]
    shifts = [strength * blurred(shift, sigma, mode="reflect", truncate=3) for shift in shifts]
    columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    at = [rows + shifts[1], columns + shifts[0]]
    return np.stack(
        [ndimage.map_coordinates(x[..., d], at, order=1, mode="reflect") for d in range(3)], axis=-1
    )


def motion_blur(x, c, rng):
    return imagemagick_motion(x, *c, rng.uniform(-45, 45))


AUTHORS = {
    "gaussian_noise": lambda x, c, rng: x + rng.normal(0, c, x.shape),
    "shot_noise": lambda x, c, rng: rng.poisson(x * c) / c,
    "impulse_noise": lambda x, c, rng: np.select(
        [rng.random(x.shape) >= c, rng.random(x.shape) < 0.5], [x, np.ones_like(x)], 0
    ),
    "speckle_noise": lambda x, c, rng: x + x * rng.normal(0, c, x.shape),
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "fog": fog,
    "spatter": spatter,
    "elastic_transform": elastic_transform,
}
"""Formulas of the corruptions that are random or not elementary; test_corruptions.py tests the others."""

LEVELS = {
    "gaussian_noise": [0.08, 0.12, 0.18, 0.26, 0.38],
    "shot_noise": [60, 25, 12, 5, 3],
    "impulse_noise": [0.03, 0.06, 0.09, 0.17, 0.27],
    "speckle_noise": [0.15, 0.2, 0.35, 0.45, 0.6],
    "defocus_blur": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    "glass_blur": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    "motion_blur": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    "zoom_blur": [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    "snow": [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ],
    "fog": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    "spatter": [
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ],
    "elastic_transform": [
        (2, 0.7, 0.1),
        (2, 0.08, 0.2),
        (0.05, 0.01, 0.02),
        (0.07, 0.01, 0.02),
        (0.12, 0.01, 0.02),
    ],
}


def statistics(damaged, clean):
    """Per image: mean absolute change, mean, deviation, mean step between neighbouring pixels."""
    axes = (1, 2, 3)
    steps = np.abs(np.diff(damaged, axis=1)).mean(axes)
    return np.stack(
        [np.abs(damaged - clean).mean(axes), damaged.mean(axes), damaged.std(axes), steps], axis=1
    )


@pytest.mark.parametrize("name", AUTHORS)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_statistics_of_corrupted_images_are_the_authors(name, severity):
    clean = photographs(6) / 255
    theirs = np.stack(
        [
            AUTHORS[name](x, LEVELS[name][severity - 1], np.random.default_rng(i)).clip(0, 1)
            for i, x in enumerate(clean)
        ]
    )
    pixels = torch.from_numpy(clean.astype(np.float32)).permute(0, 3, 1, 2)
    ours = CORRUPTIONS[name](pixels, severity, [str(i) for i in range(len(clean))])
    ours = ours.permute(0, 2, 3, 1).double().numpy()
    expected, measured = statistics(theirs, clean), statistics(ours, clean)
    difference = measured - expected
    noise = difference.std(axis=0, ddof=1) / len(clean) ** 0.5
    assert (np.abs(difference.mean(axis=0)) <= 4 * noise + 0.01 * expected.mean(axis=0) + 1e-3).all()


@pytest.mark.parametrize("decay", [2.0, 1.7, 1.5, 1.4])
def test_the_plasma_fractal_equals_the_authors(decay):
    ours = plasma(224, decay, np.random.default_rng(3))
    np.testing.assert_allclose(ours, authors_plasma(decay, np.random.default_rng(3))[:224, :224], atol=1e-12)


@pytest.mark.parametrize(("radius", "softness"), LEVELS["defocus_blur"])
def test_the_disk_of_defocus_equals_the_authors(radius, softness):
    np.testing.assert_allclose(disk(radius, softness)[0].numpy(), authors_disk(radius, softness), atol=1e-6)


@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_copies_of_pixels_equal_the_authors_loop(reach):
    size = 40
    indices = np.arange(size * size).reshape(size, size, 1)
    looped = authors_shuffle(indices.copy(), reach, np.random.default_rng(reach))
    np.testing.assert_array_equal(copied_from(size, reach, np.random.default_rng(reach)), looped.ravel())


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_edges_and_shading_of_drops_equal_opencvs(severity):
    mean, deviation, sigma, threshold, *_ = LEVELS["spatter"][severity - 1]
    liquid = blurred(np.random.default_rng(severity).normal(mean, deviation, (SIZE, SIZE)), sigma)
    heights = np.floor(255 * np.where(liquid < threshold, 0, liquid)).astype(np.uint8)
    is_edge = cv2.Canny(heights, 50, 150) > 0
    assert is_edge.any()
    np.testing.assert_array_equal(canny_edges(heights), is_edge)
    expected = authors_relief(heights)
    assert np.abs(relief(heights.astype(float)) - expected).mean() < 0.05 * expected.mean()


def test_a_lens_without_drops_is_shaded_evenly():
    clean = torch.full((1, 3, 64, 64), 0.5)
    empty = np.zeros((64, 64), np.uint8)
    np.testing.assert_array_equal(relief(empty), authors_relief(empty))
    spattered = CORRUPTIONS["spatter"](clean, 1, ["a"])
    assert torch.isfinite(spattered).all()


def test_frost_has_the_brightness_of_the_authors_photographs():
    """Mean of the weighted overlay on black; their photographs' mean colour is (0.572, 0.652, 0.702)."""
    black = torch.zeros(200, 3, 32, 32)
    ids = [str(i) for i in range(len(black))]
    mean = CORRUPTIONS["frost"](black, 5, ids).mean(dim=(0, 2, 3)).numpy()
    np.testing.assert_allclose(mean, 0.75 * np.array([0.572, 0.652, 0.702]), atol=0.03)


def test_every_corruption_is_compared_with_the_authors_here_or_is_deterministic():
    elsewhere = {"brightness", "contrast", "saturate", "gaussian_blur", "pixelate", "jpeg_compression"}
    assert set(AUTHORS) | elsewhere == {*IMAGENET_C, *EXTRA} - set(NOT_COMPARABLE)


def test_alexnets_errors_on_5000_images_are_those_that_the_authors_published_on_all():
    published = [
        *(0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816, 0.826572, 0.819324),
        *(0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
    ]
    assert tuple(ALEXNET_ERRORS) == IMAGENET_C
    np.testing.assert_allclose(list(ALEXNET_ERRORS.values()), published, atol=0.0065)
