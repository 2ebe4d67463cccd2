"""A dataset of 24 random images, for tests and for the processes they start."""

import numpy as np

from raybench.catalog.dataset_sources import FunctionSource
from raybench.catalog.datasets import DatasetInfo
from raybench.data.dataset import Dataset, Examples, HygieneReport
from raybench.data.decoding import pixel_hash
from raybench.data.source import SourceSplit

COUNTS = {"train": 12, "val": 7, "test": 5}


def make_dataset(seed: int = 0) -> Dataset:
    splits = {}
    for i, (name, count) in enumerate(COUNTS.items()):
        images = np.random.default_rng([seed, i]).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        source = SourceSplit(
            ids=[f"{name}{j}" for j in range(count)],
            targets=np.arange(count) % 2,
            read=images.__getitem__,
            signature=name,
        )
        splits[name] = Examples(source, np.arange(count), [pixel_hash(image) for image in images])
    return Dataset(
        DatasetInfo(name="drawn", source=FunctionSource("shapes")), ("a", "b"), splits, HygieneReport()
    )
