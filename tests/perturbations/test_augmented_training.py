"""Fine-tuning augments what it trains on, and nothing else."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.backbones.backbone import Backbone
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.datasets import find_dataset
from raybench.data.batches import batches
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.finetune.protocol import finetune

HPARAMS = {"lr": 1e-3, "weight_decay": 0.05, "layer_decay": 0.9, "drop_path": 0.0}
BACKBONE = BackboneInfo(
    name="small",
    timm="resnet10t",
    kwargs={"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8},
    weights="random",
    preprocessing={"input_size": 32, "crop_pct": 1.0},
)


@pytest.fixture
def digits():
    whole = load_dataset(find_dataset("digits"))
    splits = {name: whole.split(name).take(np.arange(60)) for name in ("train", "val")}
    return Dataset(whole.info, whole.class_names, splits, whole.hygiene)


@pytest.fixture
def batches_of_an_epoch(digits, tmp_path, monkeypatch):
    """Pixels that the network is trained on, and those it is measured on, of one epoch of fine-tuning."""
    seen: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    forward = Backbone.forward

    def spy(self, pixels):
        seen[self.training].append(pixels.clone())
        return forward(self, pixels)

    monkeypatch.setattr(Backbone, "forward", spy)

    def _run(**hparams):
        context = TrialContext(
            backbone_info=BACKBONE,
            dataset=digits,
            store=SimpleNamespace(),  # Fine-tuning reads no features.
            device=torch.device("cpu"),
            checkpoint_dir=tmp_path,
        )
        next(iter(finetune(context, {**HPARAMS, **hparams}, 0, 1).run_epochs()))
        return torch.cat(seen[True]), torch.cat(seen[False])

    return _run


def plain(examples):
    """The images as they are measured: resized, not augmented."""
    return torch.cat(list(batches(examples, preprocessing_of(BACKBONE), 64)))


def as_bytes(pixels):
    return {image.numpy().tobytes() for image in pixels}


def test_every_training_image_is_augmented_and_no_validation_image_is(digits, batches_of_an_epoch):
    trained, measured = batches_of_an_epoch()
    assert torch.equal(measured, plain(digits.val))
    assert len(trained) == len(digits.train)
    assert not as_bytes(trained) & as_bytes(plain(digits.train))


@pytest.mark.parametrize(("flip", "is_mirrored"), [(False, False), (True, True)])
def test_hyperparameters_reach_the_augmentation(digits, batches_of_an_epoch, monkeypatch, flip, is_mirrored):
    """Brightness rises from left to right: no crop reverses it, only mirroring does."""
    ramp = np.linspace(0, 255, 32).astype(np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    monkeypatch.setattr(digits.train, "image", lambda index: ramp)
    trained, _ = batches_of_an_epoch(flip=flip, min_crop=0.9)
    falls = trained[..., -1].mean(dim=(1, 2)) < trained[..., 0].mean(dim=(1, 2))
    assert bool(falls.any()) == is_mirrored
