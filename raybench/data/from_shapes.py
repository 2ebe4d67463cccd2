"""The drawn shapes of `data/shapes.py` as a dataset: of which class or individual is the main object?"""

from collections.abc import Mapping
from functools import lru_cache, partial

import numpy as np
from jaxtyping import UInt8

from raybench.catalog.datasets import DatasetInfo
from raybench.data.decoding import RgbImage, pixel_hash
from raybench.data.shapes import CLASS_NAMES, NUM_IDENTITIES, Scenes, generate
from raybench.data.source import Source, SourceSplit, chosen_splits

SPLITS: Mapping[str, tuple[int, int]] = {"train": (0, 2000), "val": (1, 500), "test": (2, 1000)}
"""Split → seed and number of images."""
INDIVIDUALS = "individuals"
"""`location` of the dataset whose classes are the individuals: instance retrieval without a download."""


def read_source(info: DatasetInfo) -> Source:
    """Draw the three splits; about a second each per process.

    Raises:
        DataError: `splits` asks for a split that is not in SPLITS.
    """
    chosen = chosen_splits(info.splits, tuple(SPLITS), "the shapes")
    by_individual = info.location == INDIVIDUALS
    names = tuple(CLASS_NAMES)
    if by_individual:
        names = tuple(f"{CLASS_NAMES[i % len(CLASS_NAMES)]}_{i:02d}" for i in range(NUM_IDENTITIES))
    splits = {ours: _split(theirs, by_individual) for ours, theirs in chosen.items()}
    return Source(class_names=names, splits=splits)


def _split(name: str, by_individual: bool) -> SourceSplit:
    scenes = _drawn(*SPLITS[name])
    return SourceSplit(
        ids=[f"{i:05d}" for i in range(len(scenes.images))],
        labels=scenes.identities[:, 0] if by_individual else scenes.labels,
        read=partial(_read, scenes.images),
        # Of the pixels, because processors may differ in a last bit of what they draw.
        signature=f"shapes/{name}/{pixel_hash(scenes.images[:250].reshape(-1, 1, 3))}",
    )


@lru_cache(maxsize=len(SPLITS))
def _drawn(seed: int, num_images: int) -> Scenes:
    return generate(seed, num_images)


def _read(images: UInt8[np.ndarray, "n h w 3"], position: int) -> RgbImage:
    return images[position]
