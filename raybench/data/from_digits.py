"""scikit-learn's bundled digits: 1,797 real handwritten digits, 8 × 8 pixels, the offline default."""

from functools import partial

import numpy as np
from jaxtyping import UInt8

from raybench.catalog.datasets import DatasetInfo
from raybench.data.decoding import RgbImage
from raybench.data.source import UNDIVIDED, Source, SourceSplit, chosen_splits


def read_source(info: DatasetInfo) -> Source:
    """Read the digits as one undivided split. Grey levels 0..16 become 0..255 in three equal channels.

    Raises:
        DataError: `splits` asks for another split than `all`.
    """
    import sklearn
    from sklearn.datasets import load_digits  # Deferred: a second of import for one of many sources.

    chosen = chosen_splits(info.splits, (UNDIVIDED,), "scikit-learn's digits")
    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    split = SourceSplit(
        ids=[f"{i:04d}" for i in range(len(grey))],
        labels=bunch.target.astype(np.int64),
        read=partial(_read_grey, grey),
        signature=f"digits/sklearn-{sklearn.__version__}",
    )
    return Source(class_names=tuple("0123456789"), splits=dict.fromkeys(chosen, split))


def _read_grey(images: UInt8[np.ndarray, "n h w"], position: int) -> RgbImage:
    return np.repeat(images[position][:, :, None], 3, axis=2)
