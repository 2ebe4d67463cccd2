"""What the tests of protocols share: features without a backbone, behind the real lock."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from raybench.core.errors import SplitLockedError
from raybench.data.ground_truth import Gallery
from raybench.evaluation.contracts import TrialContext

Splits = Mapping[str, tuple[np.ndarray, np.ndarray]]


class StoredFeatures:
    """As `FeatureStore.get`: read-only memory maps, test refused while the dataset is locked."""

    def __init__(self, folder: Path, splits: Splits) -> None:
        self._folder, self._targets = folder, {name: targets for name, (_, targets) in splits.items()}
        for name, (features, _) in splits.items():
            np.save(folder / f"{name}.npy", features.astype(np.float32))

    def get(self, info: Any, dataset: Any, split: str, *, device: Any = "cpu", **view: Any) -> Any:
        if split == "test" and not dataset.is_unlocked:
            raise SplitLockedError("the test split is locked while hyperparameters are being chosen.")
        targets = self._targets[split]
        features = np.load(self._folder / f"{split}.npy", mmap_mode="r")
        ids = [f"{split}/{i}" for i in range(len(targets))]
        return SimpleNamespace(features=features, targets=targets, ids=ids)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def context_of(tmp_path: Path) -> Callable[..., TrialContext]:
    """(splits, is_unlocked, gallery) → a context over them."""

    def make(splits: Splits, *, is_unlocked: bool = False, gallery: Gallery | None = None) -> TrialContext:
        num_classes = 1 + max(int(targets.max()) for _, targets in splits.values())
        return TrialContext(
            backbone_info=None,
            dataset=SimpleNamespace(
                num_classes=num_classes,
                is_unlocked=is_unlocked,
                distractors=None,
                gallery=lambda split: gallery or Gallery(),
                num_examples=lambda split: len(splits[split][1]),
            ),
            store=StoredFeatures(tmp_path, splits),
            device=torch.device("cpu"),
            checkpoint_dir=tmp_path / "checkpoint",
        )

    return make


@pytest.fixture(scope="session")
def digits() -> Splits:
    """Pixels of scikit-learn's digits as features: 64 of them, some constant, ten classes."""
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    features, targets = features[order].astype(np.float32), targets[order].astype(np.int64)
    parts = {"train": slice(0, 1000), "val": slice(1000, 1400), "test": slice(1400, None)}
    return {name: (features[part], targets[part]) for name, part in parts.items()}
