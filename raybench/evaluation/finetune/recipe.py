"""The hyperparameters of one fine-tuning run, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from raybench.catalog.search_spaces import FINETUNE_MINIBATCH
from raybench.core.records import Hparams


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is fine-tuned."""

    lr: float
    """Peak learning rate of the head and the backbone's last layer."""
    weight_decay: float
    layer_decay: float
    """Factor of the learning rate from each layer to the one below, in (0, 1]; 1 is one rate for all."""
    drop_path: float
    """Largest probability of skipping a residual block."""
    epochs: int
    """Length of the learning-rate schedule."""
    last_epoch: int
    """Epoch after which training stops, at most `epochs`; does not shorten the schedule."""
    batch_size: int
    min_crop: float
    """Smallest share of the image's area that a random crop keeps, in (0, 1]."""
    flip: bool
    """Mirror at random. Off by default: mirrored digits are other digits."""
    color_jitter: float
    """Strength in [0, 1]; 0 is none."""

    @classmethod
    def from_hparams(cls, hparams: Hparams, max_epochs: int) -> Self:
        """Read `hparams`, of which only `lr` and `weight_decay` are required.

        `epochs` is capped by `max_epochs`; `epoch` is the epoch that a search has chosen to stop after.
        """
        epochs = min(int(hparams.get("epochs", max_epochs)), max_epochs)
        return cls(
            lr=float(hparams["lr"]),
            weight_decay=float(hparams["weight_decay"]),
            layer_decay=float(hparams.get("layer_decay", 1.0)),
            drop_path=float(hparams.get("drop_path", 0.0)),
            epochs=epochs,
            last_epoch=min(int(hparams.get("epoch", epochs)), epochs),
            batch_size=int(hparams.get("batch_size", FINETUNE_MINIBATCH)),
            min_crop=float(hparams.get("min_crop", 0.5)),
            flip=bool(hparams.get("flip", False)),
            color_jitter=float(hparams.get("color_jitter", 0.0)),
        )
