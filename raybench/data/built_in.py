"""Readers of datasets that need no download: scikit-learn's digits, and the drawn shapes."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import numpy as np
import sklearn
from jaxtyping import UInt8
from sklearn.datasets import load_digits

from raybench.catalog.dataset_sources import NUM_SHAPES, FunctionSource
from raybench.core.records import Split
from raybench.data.decoding import RgbImage, pixel_hash
from raybench.data.shape_scenes import CLASS_NAMES, NUM_IDENTITIES, Scenes, generate
from raybench.data.source import UNDIVIDED, SourceData, SourceSplit, choose_splits

SHAPE_SEEDS: Mapping[str, int] = {"train": 0, "val": 1, "test": 2}
"""Split of the shapes → seed of its images."""


def read_digits(source: FunctionSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """1,797 handwritten digits of 8 × 8 pixels, undivided; grey levels 0..16 become 0..255."""
    chosen = choose_splits(splits, (UNDIVIDED,), "scikit-learn's digits")
    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    split = SourceSplit(
        ids=[f"{i:04d}" for i in range(len(grey))],
        targets=bunch.target.astype(np.int64),
        read=partial(_read_array, np.repeat(grey[..., None], 3, axis=3)),
        signature=f"digits/sklearn-{sklearn.__version__}",
    )
    return SourceData(class_names=tuple("0123456789"), splits=dict.fromkeys(chosen, split), names=chosen)


def read_shapes(source: FunctionSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """Drawn scenes of 32 × 32 pixels, labelled with the main object's class; about a second per split."""
    return _shapes(splits, CLASS_NAMES, lambda scenes: scenes.labels)


def read_shapes_individuals(source: FunctionSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """The same scenes labelled with the main object's identity: instance retrieval without a download."""
    names = tuple(f"{CLASS_NAMES[i % len(CLASS_NAMES)]}_{i:02d}" for i in range(NUM_IDENTITIES))
    return _shapes(splits, names, lambda scenes: scenes.identities[:, 0])


def _shapes(
    splits: Mapping[Split, str], class_names: tuple[str, ...], targets_of: Callable[[Scenes], np.ndarray]
) -> SourceData:
    chosen = choose_splits(splits, tuple(SHAPE_SEEDS), "the shapes")
    scenes = {ours: _draw(SHAPE_SEEDS[theirs], NUM_SHAPES[theirs]) for ours, theirs in chosen.items()}
    return SourceData(
        class_names=class_names,
        splits={
            ours: SourceSplit(
                ids=[f"{i:05d}" for i in range(len(drawn.images))],
                targets=targets_of(drawn),
                read=partial(_read_array, drawn.images),
                # Of the pixels, because processors may differ in a last bit of what they draw.
                signature=f"shapes/{chosen[ours]}/{pixel_hash(drawn.images[:250].reshape(-1, 1, 3))}",
            )
            for ours, drawn in scenes.items()
        },
        names=chosen,
    )


@lru_cache(maxsize=len(SHAPE_SEEDS))
def _draw(seed: int, num_images: int) -> Scenes:
    return generate(seed, num_images)


def _read_array(images: UInt8[np.ndarray, "n h w 3"], position: int) -> RgbImage:
    return images[position]
