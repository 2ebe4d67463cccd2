"""A dataset of 24 random images, for tests and for the processes they start."""

import numpy as np

from raybench.catalog.dataset_info import Annotation
from raybench.catalog.dataset_sources import FunctionSource
from raybench.catalog.datasets import DatasetInfo
from raybench.data.dataset import Dataset, Examples, HygieneReport
from raybench.data.decoding import pixel_hash
from raybench.data.source import SourceSplit
from raybench.features.store import FeatureStore

COUNTS = {"train": 12, "val": 7, "test": 5}


def make_dataset(seed: int = 0, *, annotation: Annotation = "classes", side: int = 32) -> Dataset:
    """Images of noise; with `labels`, both of two labels hold for every second image."""
    splits = {}
    for i, (name, count) in enumerate(COUNTS.items()):
        images = np.random.default_rng([seed, i]).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        classes = np.arange(count) % 2
        source = SourceSplit(
            ids=[f"{name}{j}" for j in range(count)],
            targets=classes if annotation == "classes" else np.stack([classes == 0, classes >= 0], axis=1),
            read=images.__getitem__,
            signature=name,
        )
        splits[name] = Examples(source, np.arange(count), [pixel_hash(image) for image in images])
    info = DatasetInfo(name="drawn", source=FunctionSource("shapes"), annotation=annotation)
    return Dataset(info, ("a", "b"), splits, HygieneReport())


def is_stored(store: FeatureStore, *identity: object) -> bool:
    """Whether the store lists the complete entry of (backbone, dataset, split[, spec])."""
    return store.key(*identity) in {entry.key for entry in store.entries()}
