"""Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) between the two images of a pair.

A pair is two neighbours in the epoch's order, and its draws follow from (seed, epoch, pair), so mixed images
do not depend on the batch size. timm's default draws once per batch instead, from the same distribution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.perturbations.views import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How the images of a pair are mixed; both in the same way."""

    share: float
    """Share of the image's own label, in [0, 1]; the partner's label has the rest."""
    box: Box | None
    """CutMix: pixels that come from the partner. None: mixup of all pixels."""


UNMIXED = Mix(share=1.0, box=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSettings:
    """Distribution of mixes."""

    side: int
    """Side of the images, pixels."""
    mixup: float = 0.0
    """Parameter α of mixup's Beta(α, α); 0 is no mixup."""
    cutmix: float = 0.0
    """Parameter α of CutMix's Beta(α, α); 0 is no CutMix."""
    cutmix_share: float = 0.5
    """Probability of CutMix where mixup is on too."""
    probability: float = 1.0
    """Probability that a pair is mixed at all."""

    @property
    def is_on(self) -> bool:
        return (self.mixup > 0 or self.cutmix > 0) and self.probability > 0

    def draw(self, rng: np.random.Generator) -> Mix:
        """Draw how one pair is mixed."""
        is_mixed, is_cut = rng.random() < self.probability, rng.random() < self.cutmix_share
        if not (is_mixed and self.is_on):
            return UNMIXED
        if self.cutmix > 0 and (is_cut or self.mixup == 0):
            box = draw_cut(rng, self.side, float(rng.beta(self.cutmix, self.cutmix)))
            # The box may reach beyond the image: its share is counted, not the drawn one.
            return Mix(share=1.0 - box.height * box.width / self.side**2, box=box)
        return Mix(share=float(rng.beta(self.mixup, self.mixup)), box=None)


def draw_cut(rng: np.random.Generator, side: int, share: float) -> Box:
    """A square with 1 - share of the area around a uniform centre, cut at the border; it may be empty."""
    half = int(side * math.sqrt(1.0 - share)) // 2
    middle = rng.integers(side, size=2)
    top, left = (max(0, int(m) - half) for m in middle)
    bottom, right = (min(side, int(m) + half) for m in middle)
    return Box(top, left, bottom - top, right - left)


def mix_pairs(
    pixels: Float[torch.Tensor, "b 3 s s"],
    targets: Int[torch.Tensor, " b"],
    mixes: Sequence[Mix],
    num_classes: int,
) -> tuple[Float[torch.Tensor, "b 3 s s"], Float[torch.Tensor, "b c"]]:
    """Mix neighbours (0, 1), (2, 3) …; an image without a neighbour stays. Return pixels and label shares.

    Args:
        mixes: one for each full pair.
    """
    partner = torch.arange(len(pixels), device=pixels.device)
    partner[: 2 * len(mixes)] ^= 1
    others, output = pixels[partner], pixels.clone()
    for number, mix in enumerate(mixes):
        rows = slice(2 * number, 2 * number + 2)
        if mix.box is None:
            output[rows] = mix.share * pixels[rows] + (1.0 - mix.share) * others[rows]
        else:
            top, left, height, width = mix.box
            part = (rows, slice(None), slice(top, top + height), slice(left, left + width))
            output[part] = others[part]
    shares = torch.ones(len(pixels), dtype=pixels.dtype)
    shares[: 2 * len(mixes)] = torch.tensor(
        [mix.share for mix in mixes for _ in range(2)], dtype=pixels.dtype
    )
    labels = torch.nn.functional.one_hot(targets, num_classes).to(pixels.dtype)
    own = shares.to(pixels.device)[:, None]
    return output.clamp_(0.0, 1.0), own * labels + (1.0 - own) * labels[partner]
