"""All corruptions at all severities on real photographs, beside the package `imagecorruptions`.

Two exceptions: `frost`, whose photographs raybench may not ship, and `elastic_transform`, of which the
package says that it differs from ImageNet-C's (tests/perturbations/test_imagenet_c.py compares that one with
the authors' formula).
"""

import numpy as np
import pytest
import torch
from PIL import Image

from raybench.catalog.evaluators.corruption import EXTRA, IMAGENET_C, NOT_COMPARABLE
from raybench.perturbations.corruptions import CORRUPTIONS
from tests.independent.reference import DATA, corrupted

NUM_PHOTOS = 24
DETERMINISTIC = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
DETERMINISTIC += ("gaussian_blur", "saturate")
DIFFERENT = (*NOT_COMPARABLE, "elastic_transform")
RANDOM = [name for name in (*IMAGENET_C, *EXTRA) if name not in (*DETERMINISTIC, *DIFFERENT)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.independent,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs the real images of ../shared/data"),
]


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Bytes [n, 224, 224, 3], from as many classes."""
    files = sorted((DATA / "datasets/imagenet1k_samples_256/val").rglob("*.*"))
    chosen = files[:: len(files) // NUM_PHOTOS][:NUM_PHOTOS]
    images = [Image.open(file).convert("RGB").resize((256, 256)).crop((16, 16, 240, 240)) for file in chosen]
    return np.stack([np.asarray(image) for image in images])


def both(name: str, severity: int, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(raybench's, imagecorruptions') corrupted photographs in 0…255, float64 [n, 224, 224, 3]."""
    theirs = corrupted(photos, name, severity)
    pixels = torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255
    ours = CORRUPTIONS[name](pixels, severity, [str(i) for i in range(len(photos))])
    return 255 * ours.permute(0, 2, 3, 1).double().numpy(), theirs.astype(np.float64)


def statistics(damaged: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Per photograph: mean change, mean, deviation, mean step between neighbouring pixels, [n, 4]."""
    axes = (1, 2, 3)
    steps = np.abs(np.diff(damaged, axis=1)).mean(axes)
    change = np.abs(damaged - clean).mean(axes)
    return np.stack([change, damaged.mean(axes), damaged.std(axes), steps], axis=1)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_corruption_without_randomness_gives_the_packages_pixels(name, severity, photos):
    """The package cuts to whole bytes, half a level on average; up to 1 % of pixels may differ by more."""
    ours, theirs = both(name, severity, photos)
    difference = np.abs(np.floor(ours + 1e-3) - theirs)
    assert difference.mean() < 0.6
    assert (difference > 2).mean() < 0.01


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", RANDOM)
def test_a_random_corruption_is_within_noise_of_the_packages(name, severity, photos):
    """Four standard errors over photographs, and 1 % and half a level for the package's whole bytes."""
    ours, theirs = both(name, severity, photos)
    measured, expected = statistics(ours, photos), statistics(theirs, photos)
    noise = (measured - expected).std(axis=0, ddof=1) / np.sqrt(NUM_PHOTOS)
    allowed = 4 * noise + 0.01 * expected.mean(axis=0) + 0.5
    assert (np.abs((measured - expected).mean(axis=0)) <= allowed).all()


def test_every_corruption_is_compared_here_or_named_as_different():
    assert {*DETERMINISTIC, *RANDOM, *DIFFERENT} == {*IMAGENET_C, *EXTRA}
    assert len(DETERMINISTIC) + len(RANDOM) == 17
