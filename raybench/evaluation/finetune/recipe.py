"""The hyperparameters of one fine-tuning run, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Self

from raybench.catalog.search_spaces import FINETUNE_MINIBATCH
from raybench.core.preprocessing import Preprocessing
from raybench.core.records import Hparams
from raybench.perturbations.mixing import MixSettings
from raybench.perturbations.views import ViewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Random changes of each training image; see `ViewSettings`."""

    min_crop: float = 0.5
    """Smallest share of the image's area that a random crop keeps, in (0, 1]."""
    flip: bool = False
    """Mirror at random. Off by default: mirrored digits are other digits."""
    color_jitter: float = 0.0
    """Strength in [0, 1]; 0 is none."""
    random_interpolation: bool = False
    rand_augment_layers: int = 0
    rand_augment_magnitude: float = 9.0
    rand_augment_std: float = 0.5
    erasing: float = 0.0

    def settings(self, input_side: int, preprocessing: Preprocessing) -> ViewSettings:
        """The distributions of views of squares with this side, for a backbone with this preprocessing."""
        return ViewSettings(
            input_side=input_side,
            output_side=preprocessing.input_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
            **{name.name: getattr(self, name.name) for name in fields(self)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """Mixup and CutMix; see `MixSettings`."""

    mixup: float = 0.0
    cutmix: float = 0.0
    cutmix_share: float = 0.5
    mix_probability: float = 1.0

    def settings(self, side: int) -> MixSettings:
        return MixSettings(
            side=side,
            mixup=self.mixup,
            cutmix=self.cutmix,
            cutmix_share=self.cutmix_share,
            probability=self.mix_probability,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is fine-tuned."""

    lr: float
    """Peak learning rate of the backbone's last layer, for steps of `batch_size` images."""
    weight_decay: float
    layer_decay: float
    """Factor of the learning rate from each layer to the one below, in (0, 1]; 1 is one rate for all."""
    drop_path: float
    """Largest probability of skipping a residual block."""
    epochs: int
    """Length of the learning-rate schedule."""
    last_epoch: int
    """Epoch after which training stops, at most `epochs`; does not shorten the schedule."""
    batch_size: int = FINETUNE_MINIBATCH
    """Images per optimiser step."""
    micro_batch: int = 0
    """Largest number of images per forward pass; 0 is the whole batch."""
    steps: int = 0
    """Largest number of optimiser steps; 0 is no limit."""
    warmup_epochs: float | None = None
    """None: a tenth of all steps; Goldblum et al. 2023 have 5 to 10 of 100 epochs (released configs)."""
    warmup_start: float = 0.0
    """Learning rate before the first step, as a share of the peak."""
    lr_floor: float = 0.0
    """Learning rate after the last step, as a share of the peak."""
    head_lr: float = 1.0
    """Learning rate of the head as a multiple of `lr`."""
    head_init: str = "small"
    """One of `catalog.finetuning.HEAD_INITS`."""
    freeze_batch_stats: bool = False
    """Whether batch norms keep their pretrained statistics; their weights are trained."""
    clip_norm: float = 5.0
    """Largest norm of a step's gradient; 0 is no limit."""
    ema: float = 0.0
    """Decay per step of the moving average of weights; 0 is no average."""
    label_smoothing: float = 0.1
    """As in Goldblum et al. 2023 (released configs)."""
    views: Views = field(default_factory=Views)
    mixing: Mixing = field(default_factory=Mixing)

    @classmethod
    def from_hparams(cls, hparams: Hparams, max_epochs: int) -> Self:
        """Read `hparams`, of which only `lr` and `weight_decay` are required.

        `epochs` is capped by `max_epochs`; `epoch` is the epoch that a search has chosen to stop after.
        """
        epochs = min(int(hparams.get("epochs", max_epochs)), max_epochs)
        own = {**hparams, "epochs": epochs}
        derived: dict[str, Any] = {
            "layer_decay": float(hparams.get("layer_decay", 1.0)),
            "drop_path": float(hparams.get("drop_path", 0.0)),
            "last_epoch": min(int(hparams.get("epoch", epochs)), epochs),
            "views": Views(**_named(Views, hparams)),
            "mixing": Mixing(**_named(Mixing, hparams)),
        }
        return cls(**(_named(cls, own) | derived))

    @property
    def images_per_pass(self) -> int:
        """Largest number of images in one forward pass."""
        return min(self.micro_batch, self.batch_size) if self.micro_batch else self.batch_size

    @property
    def draws_per_example(self) -> bool:
        """Whether views are drawn for each example: so once any part but crop, flip and jitter is on.

        Otherwise kornia draws them for a batch from torch's global generator, as in earlier versions, whose
        recipes so give the same numbers.
        """
        plain = Views(
            min_crop=self.views.min_crop, flip=self.views.flip, color_jitter=self.views.color_jitter
        )
        return self.views != plain or self.mixing != Mixing()


def _named(kind: type, hparams: Hparams) -> dict[str, Any]:
    """Those hyperparameters that are fields of the dataclass `kind`, in the type of the field."""
    casts = {"float": float, "float | None": float, "int": int, "bool": bool, "str": str}
    return {
        name.name: casts[str(name.type)](hparams[name.name])
        for name in fields(kind)
        if name.name in hparams and str(name.type) in casts
    }
