"""Training images: the same whatever the batch size; mixed with their neighbours in the epoch's order."""

import numpy as np
import pytest
import torch

from raybench.backbones.loading import load_backbone
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.finetune.training_images import TrainingImages
from tests.evaluation.finetune.conftest import BACKBONE

EVERYTHING = {
    "min_crop": 0.08,
    "random_interpolation": True,
    "flip": True,
    "color_jitter": 0.4,
    "rand_augment_layers": 2,
    "erasing": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
}


@pytest.fixture
def epoch_of(context_at, hparams):
    """(batch size, epoch, seed, changes) → (pixels, labels) of an epoch in its order."""

    def make(batch_size, epoch=1, seed=0, **changes):
        recipe = Recipe.from_hparams({**hparams, **changes, "batch_size": batch_size}, 3)
        preprocessing = load_backbone(BACKBONE, device=torch.device("cpu")).preprocessing
        images = TrainingImages(context_at("unused"), preprocessing, recipe, seed)
        batches = list(images.batches(epoch))
        assert len(batches) == images.steps_per_epoch
        assert [len(pixels) for pixels, _ in batches[:-1]] == [batch_size] * (len(batches) - 1)
        return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))

    return make


@pytest.mark.parametrize("batch_size", [64, 33, 7, 199])
def test_a_seed_gives_the_same_images_and_labels_whatever_the_batch_size(epoch_of, batch_size):
    whole, its_labels = epoch_of(200, **EVERYTHING)
    pixels, labels = epoch_of(batch_size, **EVERYTHING)
    num = len(pixels)  # With batches of 199 the last image is left out.
    assert num >= 199
    assert torch.equal(pixels, whole[:num])
    assert torch.equal(labels, its_labels[:num])


def test_epochs_and_seeds_give_other_images(epoch_of):
    first, second = epoch_of(64, **EVERYTHING), epoch_of(64, epoch=2, **EVERYTHING)
    other, again = epoch_of(64, seed=1, **EVERYTHING), epoch_of(64, **EVERYTHING)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])


def test_labels_of_mixed_images_are_shares_of_two_neighbours(epoch_of, digits):
    _, labels = epoch_of(50, **EVERYTHING)
    order = np.random.default_rng((0, 1)).permutation(200)
    targets = torch.tensor(digits.train.targets[order])
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(200))
    for position in range(200):
        classes = {int(targets[position]), int(targets[position ^ 1])}
        assert set(labels[position].nonzero().flatten().tolist()) <= classes
    assert int((labels.max(dim=1).values < 1).sum()) > 100


def test_without_mixing_labels_are_class_indices(epoch_of):
    _, labels = epoch_of(64, erasing=0.5)
    assert labels.dtype == torch.int64
