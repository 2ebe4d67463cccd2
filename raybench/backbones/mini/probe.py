"""Measure frozen features for the sidecars: a linear probe on CIFAR-10 and few-shot digits.

The measurement is the same for every file. raybench's tuned protocols are in `evaluation`.
"""

import math
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from raybench.backbones.mini.augment import normalise, to_pixels
from raybench.catalog.mini import INPUT_SIZE

FIT_EVERY = 5
"""The probe is fitted on every 5th training image: 10,000 of 50,000."""
NUM_HELD_OUT = 2_000
"""The last images of the training set choose the regularisation; the final fit uses them too."""
STRENGTHS = (0.003, 0.03, 0.3)
"""Candidates of sklearn's C, the inverse regularisation."""
SHOTS = 10
SHOT_SEEDS = 20
SLICE = 500
"""Size of the fixed slices on which tests repeat the probe; see `slice_accuracy`."""


@torch.inference_mode()
def extract(backbone: nn.Module, images: UInt8[np.ndarray, "n 32 32 3"]) -> Float[np.ndarray, "n d"]:
    """Features in eval mode, float32."""
    backbone.eval()
    batches = torch.from_numpy(images).split(500)
    return torch.cat([backbone(normalise(to_pixels(batch))) for batch in batches]).numpy()


def probe(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    strength: float,
) -> Bool[np.ndarray, " m"]:
    """Whether a logistic regression on standardised features classifies each test image correctly."""
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-6
    with warnings.catch_warnings():
        # After 200 steps the accuracy has converged, though the loss has not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=strength, max_iter=200).fit((features - mean) / std, labels)
    return np.asarray(model.predict((test_features - mean) / std) == test_labels)


def tuned_probe(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
) -> Bool[np.ndarray, " m"]:
    """As `probe`, with the regularisation chosen on held-out training images."""
    kept, held_out = slice(None, -NUM_HELD_OUT), slice(-NUM_HELD_OUT, None)
    trials = [
        probe(features[kept], labels[kept], features[held_out], labels[held_out], c).mean() for c in STRENGTHS
    ]
    return probe(features, labels, test_features, test_labels, STRENGTHS[int(np.argmax(trials))])


def digit_images() -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int[np.ndarray, " n"]]:
    """sklearn's 1,797 digits, 8×8 grey → 32×32 RGB by bilinear interpolation."""
    digits = load_digits()
    grey = torch.from_numpy(digits.images).float()[:, None] / 16
    large = F.interpolate(grey, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    return images.contiguous().numpy(), digits.target.astype(np.int64)


def few_shot(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, " s"]:
    """Accuracy for each of 20 draws of 10 examples per class, on all the others; chance 0.1."""
    accuracies = []
    for seed in range(SHOT_SEEDS):
        order = np.random.default_rng(seed).permutation(len(labels))
        fit = np.concatenate([order[labels[order] == c][:SHOTS] for c in np.unique(labels)])
        rest = np.setdiff1d(order, fit)
        accuracies.append(probe(features[fit], labels[fit], features[rest], labels[rest], 0.03).mean())
    return np.array(accuracies)


def slice_accuracy(
    backbone: nn.Module,
    fit_images: UInt8[np.ndarray, "n 32 32 3"],
    fit_labels: Int[np.ndarray, " n"],
    test_images: UInt8[np.ndarray, "m 32 32 3"],
    test_labels: Int[np.ndarray, " m"],
) -> float:
    """Accuracy of a probe fitted on the first 500 images of one set, on the first 500 of another."""
    fit, test = extract(backbone, fit_images[:SLICE]), extract(backbone, test_images[:SLICE])
    return float(probe(fit, fit_labels[:SLICE], test, test_labels[:SLICE], 0.03).mean())


def digits_slice_accuracy(backbone: nn.Module) -> float:
    """`slice_accuracy` on the first and last 500 of sklearn's digits."""
    images, labels = digit_images()
    return slice_accuracy(backbone, images, labels, images[-SLICE:], labels[-SLICE:])


def interval_of_mean(differences: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """95 % interval of the mean of paired differences, by the normal approximation.

    >>> interval_of_mean(np.array([1.0, 1.0, 1.0]))
    (1.0, 1.0)
    """
    half = 1.96 * float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) - half, float(differences.mean()) + half
