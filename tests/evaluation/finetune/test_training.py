"""What an epoch of fine-tuning does to images, labels and random states."""

import numpy as np
import pytest
import torch

from raybench.core.errors import DivergedError
from raybench.core.preprocessing import Preprocessing
from raybench.data.batches import batches
from raybench.evaluation.finetune import training_images as module
from raybench.evaluation.finetune.decoded_images import DecodedImages
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.finetune.training import Training
from raybench.evaluation.finetune.training_images import without_center_crop
from raybench.evaluation.precision import mixed_precision


@pytest.fixture
def train(context_at, recipe):
    """(seed, epoch, recipe) → the training after one epoch."""

    def make(seed=0, epoch=1, recipe=recipe):
        training = Training(context_at("unused"), recipe, seed)
        training.train_epoch(epoch)
        return training

    return make


def weights(training):
    return torch.cat([value.flatten().double() for value in training.model.state_dict().values()])


def test_random_numbers_drawn_elsewhere_change_nothing(train):
    first = weights(train())
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(weights(train()), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_of_images_follows_from_seed_and_epoch(train, monkeypatch):
    orders = []
    inner = DecodedImages.batches
    monkeypatch.setattr(
        DecodedImages,
        "batches",
        lambda self, order, *others: orders.append(order.tolist()) or inner(self, order, *others),
    )
    for seed, epoch in ((0, 1), (1, 1), (0, 2), (0, 1)):
        train(seed, epoch)
    first, other_seed, other_epoch, again = orders
    assert sorted(first) == sorted(other_seed) == list(range(200))
    assert first == again
    assert first not in (other_seed, other_epoch, sorted(first))


@pytest.fixture
def seen(monkeypatch):
    """Batches (pixels, targets) that reach the network, in order."""
    recorded = []
    inner = Training._loss

    def record(self, pixels, targets):
        recorded.append((pixels.clone(), targets.clone()))
        return inner(self, pixels, targets)

    monkeypatch.setattr(Training, "_loss", record)
    return recorded


def test_every_image_is_cropped_at_random_and_keeps_its_label(train, seen, digits):
    training = train()
    pixels, targets = (torch.cat(parts) for parts in zip(*seen, strict=True))
    order = training._images.order(1)
    assert targets.tolist() == [int(digits.train.targets[i]) for i in order]
    plain = torch.cat(list(batches(digits.train, training.model.backbone.preprocessing, 64)))[order]
    changes = (pixels - plain).abs().mean(dim=(1, 2, 3))
    assert int((changes > 0.01).sum()) > 190
    # A crop shows the same digit: nearer to its own image than to the next one.
    assert int((changes < (pixels - plain.roll(1, 0)).abs().mean(dim=(1, 2, 3))).sum()) > 150


def test_crops_follow_from_seed_and_epoch(train, seen):
    by_image = []
    for epoch in (1, 1, 2):
        order = train(epoch=epoch)._images.order(epoch)
        by_image.append(torch.cat([pixels for pixels, _ in seen])[np.argsort(order)])
        seen.clear()
    first, again, later = by_image
    assert torch.equal(first, again)
    assert int(((first - later).abs().mean(dim=(1, 2, 3)) > 0.01).sum()) > 190


def test_the_recipes_augmentation_is_the_one_applied(context_at, hparams, monkeypatch):
    built = []
    inner = module.Augmentation
    monkeypatch.setattr(
        module, "Augmentation", lambda **settings: built.append(settings) or inner(**settings)
    )
    choice = {"min_crop": 0.2, "flip": True, "color_jitter": 0.4}
    Training(context_at("unused"), Recipe.from_hparams({**hparams, **choice}, 3), 0)
    assert built == [{"output_size": 32, **choice}]


def test_the_loss_is_cross_entropy_with_smoothed_labels(context_at, recipe):
    training = Training(context_at("unused"), recipe, 0)
    training.model.eval()
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(training.model.head.weight, generator=generator)
    pixels, targets = torch.rand(6, 3, 32, 32, generator=generator), torch.tensor([3, 1, 4, 1, 5, 9])
    log_probs = training.model(pixels).detach().log_softmax(dim=1)
    plain = -log_probs[torch.arange(6), targets].mean()
    smoothed = 0.9 * plain - 0.1 * log_probs.mean(dim=1).mean()
    torch.testing.assert_close(training._loss(pixels, targets).detach(), smoothed)
    assert abs(float(smoothed - plain)) > 1e-3


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_rate(train, monkeypatch):
    monkeypatch.setattr(Training, "_loss", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(DivergedError, match=r"the loss is nan in step 1 of epoch 1 with lr = 0.003"):
        train()


def test_a_last_batch_of_one_is_left_out_for_batch_norm(train, hparams):
    training = train(recipe=Recipe.from_hparams({**hparams, "batch_size": 199}, 1))
    assert len(training._images.order(1)) == 199


def test_random_crops_are_taken_from_the_whole_square():
    preprocessing = Preprocessing(
        input_size=224, crop_pct=0.875, interpolation="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3
    )
    whole = without_center_crop(preprocessing)
    assert (whole.input_size, whole.crop_pct) == (256, 1.0)


def test_products_on_the_cpu_are_float32():
    with mixed_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_the_head_starts_small_and_follows_from_the_seed(context_at, recipe):
    first, again, other = (Training(context_at("unused"), recipe, seed).model.head for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert 0 < float(first.weight.detach().abs().max()) < 0.05
    assert np.count_nonzero(first.bias.detach()) == 0
