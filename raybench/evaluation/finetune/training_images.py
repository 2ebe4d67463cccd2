"""Batches of augmented training images with their labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from raybench.core.preprocessing import Preprocessing
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.finetune.decoded_images import DecodedImages
from raybench.evaluation.finetune.recipe import Recipe
from raybench.perturbations.augmentations import Augmentation, augmented
from raybench.perturbations.mixing import mix_pairs
from raybench.perturbations.views import EpochRandom, Purpose

Batch = tuple[torch.Tensor, torch.Tensor]
"""Pixels [b, 3, s, s] in [0, 1], and class indices [b] or, of mixed images, label shares [b, c]."""


class TrainingImages:
    """The training split in an order and with views that follow from (seed, epoch)."""

    def __init__(
        self, context: TrialContext, preprocessing: Preprocessing, recipe: Recipe, seed: int
    ) -> None:
        self._device = context.device
        self._recipe = recipe
        self._seed = seed
        self._num_classes = context.dataset.num_classes
        whole = without_center_crop(preprocessing)
        self._images = DecodedImages(context.dataset.train, whole, num_threads=context.num_threads)
        self._targets = torch.tensor(context.dataset.train.targets, device=context.device)
        self._views = recipe.views.settings(whole.input_size, preprocessing)
        self._mixing = recipe.mixing.settings(preprocessing.input_size)
        self._module = Augmentation(
            output_size=preprocessing.input_size,
            min_crop=recipe.views.min_crop,
            flip=recipe.views.flip,
            color_jitter=recipe.views.color_jitter,
        ).build()

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self._num_used / self._recipe.batch_size)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Every image once, in random order.

        Crops of earlier versions' recipes come from torch's global generator; see `Recipe.draws_per_example`.
        """
        order, size = self.order(epoch), self._recipe.batch_size
        if self._recipe.draws_per_example:
            yield from self._drawn_per_example(epoch)
            return
        for step, pixels in enumerate(self._images.batches(order, size, self._device)):
            yield augmented(pixels, self._module), self._labels(order[step * size : (step + 1) * size])

    def order(self, epoch: int) -> np.ndarray:
        """Indices of the images used, shuffled; one fewer where the last batch would hold one image."""
        return self._permutation(epoch)[: self._num_used]

    @property
    def _num_used(self) -> int:
        num = len(self._images)
        is_last_alone = num > 1 and num % self._recipe.batch_size == 1
        return num - 1 if is_last_alone else num  # Batch norm cannot normalise a batch of one.

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, epoch)).permutation(len(self._images))

    def _labels(self, examples: np.ndarray) -> torch.Tensor:
        return self._targets[torch.from_numpy(examples).to(self._device)]

    def _drawn_per_example(self, epoch: int) -> Iterator[Batch]:
        """Batches whose pixels do not depend on the batch size: each is widened to whole pairs, then cut."""
        permutation, size = self._permutation(epoch), self._recipe.batch_size
        random = EpochRandom(self._seed, epoch)
        starts = range(0, self._num_used, size)
        spans = [
            (start - start % 2, min(start + size + (start + size) % 2, len(permutation))) for start in starts
        ]
        widened = np.concatenate([permutation[low:high] for low, high in spans])
        stream = self._images.batches(widened, spans[0][1], self._device)
        for start, (low, high), pixels in zip(starts, spans, stream, strict=True):
            examples = permutation[low:high]
            views = [self._views.draw(random.generator(Purpose.VIEW, int(i))) for i in examples]
            pixels, labels = self._views.apply(pixels, views), self._labels(examples)
            if self._mixing.is_on:
                pairs = range(low // 2, low // 2 + (high - low) // 2)
                mixes = [self._mixing.draw(random.generator(Purpose.MIX, pair)) for pair in pairs]
                pixels, labels = mix_pairs(pixels, labels, mixes, self._num_classes)
            kept = slice(start - low, min(start + size, self._num_used) - low)
            yield pixels[kept], labels[kept]


def without_center_crop(preprocessing: Preprocessing) -> Preprocessing:
    """The preprocessing with the whole resized square, from which random crops are taken."""
    side = math.floor(preprocessing.input_size / preprocessing.crop_pct)
    return replace(preprocessing, input_size=side, crop_pct=1.0)
