"""A small random network and 400 digits, for tests of fine-tuning."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.datasets import find_dataset
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.finetune.recipe import Recipe

BACKBONE = BackboneInfo(
    name="small",
    timm="resnet10t",
    kwargs={"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8},
    weights="random",
    preprocessing={"input_size": 32},
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """200 digits for training, 100 each for val and test."""
    whole = load_dataset(find_dataset("digits")).unlocked()
    sizes = {"train": 200, "val": 100, "test": 100}
    splits = {name: whole.split(name).take(np.arange(size)) for name, size in sizes.items()}
    return Dataset(whole.info, whole.class_names, splits, whole.hygiene)


@pytest.fixture
def context_at(digits: Dataset, tmp_path: Path) -> Callable[..., TrialContext]:
    """(folder, is_unlocked) → a context with its checkpoints in that folder."""

    def make(folder: str, *, is_unlocked: bool = False) -> TrialContext:
        return TrialContext(
            backbone_info=BACKBONE,
            dataset=digits.unlocked() if is_unlocked else digits,
            store=SimpleNamespace(),  # Fine-tuning never reads features.
            device=torch.device("cpu"),
            checkpoint_dir=tmp_path / folder,
        )

    return make


@pytest.fixture
def hparams() -> dict[str, float]:
    return {"lr": 3e-3, "weight_decay": 0.05, "layer_decay": 0.9, "drop_path": 0.1}


@pytest.fixture
def recipe(hparams: dict[str, float]) -> Recipe:
    return Recipe.from_hparams(hparams, 3)
