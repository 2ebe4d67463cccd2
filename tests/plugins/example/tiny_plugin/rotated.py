"""A dataset read by a function of this package: scikit-learn's digits, lying on their side."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from raybench.catalog.dataset_sources import FunctionSource
from raybench.core.records import Split
from raybench.data.built_in import read_digits
from raybench.data.source import SourceData


def read_rotated_digits(source: FunctionSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """The digits, rotated by 90 degrees."""
    digits = read_digits(source, splits, name)
    rotated = {
        split: replace(
            upright,
            read=lambda i, read=upright.read: np.rot90(read(i)),
            signature=f"rotated/{upright.signature}",
        )
        for split, upright in digits.splits.items()
    }
    return SourceData(class_names=digits.class_names, splits=rotated)
