"""Synthetic data with a fixed seed: separable features, images, and a trial's context."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.core.records import Split
from raybench.data.dataset import Dataset, Examples, HygieneReport
from raybench.data.source import SourceSplit
from raybench.evaluation.contracts import TrialContext
from raybench.features.store import FeatureSet

INFO = BackboneInfo(name="resnet18.random", timm="resnet18", weights="random")


def make_features(
    num_examples: int, num_features: int, num_classes: int, *, seed: int, noise: float
) -> FeatureSet:
    """Gaussian classes; the centres depend on `num_features` and `num_classes` only, not on the seed."""
    centres = np.random.default_rng(0).standard_normal((num_classes, num_features), dtype=np.float32)
    rng = np.random.default_rng(1 + seed)
    targets = rng.integers(num_classes, size=num_examples)
    features = centres[targets] + noise * rng.standard_normal((num_examples, num_features), dtype=np.float32)
    return FeatureSet(features=features, targets=targets, ids=[f"{i:07d}" for i in range(num_examples)])


class FixedFeatures:
    """Replaces the feature store and returns given features."""

    def __init__(self, splits: Mapping[str, FeatureSet]) -> None:
        self._splits = splits

    def get(self, info: object, dataset: object, split: str, **_: object) -> FeatureSet:
        return self._splits[split]


def context_of(splits: Mapping[str, FeatureSet], num_classes: int) -> TrialContext:
    """Context of a protocol that needs features only."""
    dataset: Any = SimpleNamespace(num_classes=num_classes)
    store: Any = FixedFeatures(splits)
    return TrialContext(
        backbone_info=INFO,
        dataset=dataset,
        store=store,
        device=torch.device("cpu"),
        checkpoint_dir=Path("unused"),
    )


def make_images(num_images: int, height: int, width: int) -> np.ndarray:
    """Smooth random images, uint8 [n, h, w, 3]: noise at three scales, so that JPEGs have a usual size."""
    rng = np.random.default_rng(0)
    images = np.empty((num_images, height, width, 3), dtype=np.uint8)
    for image in images:
        total = np.zeros((height, width, 3))
        for scale, strength in ((32, 1.0), (8, 0.5), (2, 0.2)):
            small = rng.integers(256, size=(height // scale, width // scale, 3), dtype=np.uint8)
            grown = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
            total += strength * np.asarray(grown)
        image[:] = total / 1.7
    return images


def dataset_of(images: np.ndarray) -> Dataset:
    """A dataset of decoded images."""
    split = SourceSplit(
        ids=[f"{i:05d}" for i in range(len(images))],
        targets=np.arange(len(images)) % 2,
        read=lambda position: images[position],
        signature="benchmark",
    )
    hashes = [f"{i:032x}" for i in range(len(images))]
    examples = Examples(split, np.arange(len(images)), hashes)
    info = DatasetInfo(name="benchmark", source=FolderSource(""))
    return Dataset(info, ("a", "b"), {"train": examples, "val": examples, "test": examples}, HygieneReport())


def large_dataset(num_train: int, num_val: int = 256) -> Dataset:
    """Many examples without images, for features that are stored already."""
    splits: dict[Split, Examples] = {}
    for name, size in (("train", num_train), ("val", num_val), ("test", 2)):
        source = SourceSplit(
            ids=[f"{name}{i:07d}" for i in range(size)],
            targets=np.arange(size) % 2,
            read=_no_image,
            signature="benchmark",
        )
        splits[name] = Examples(source, np.arange(size), source.ids)
    info = DatasetInfo(name="large", source=FolderSource(""))
    return Dataset(info, ("a", "b"), splits, HygieneReport())


def _no_image(position: int) -> np.ndarray:
    raise LookupError(f"there is no image {position}: its features should have been in the store")
