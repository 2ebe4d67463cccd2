"""The drawn shapes of `data/shapes.py` as a classification dataset."""

from raybench.catalog.datasets import DatasetInfo
from raybench.data.source import Source
from raybench.errors import DataError


def read_source(info: DatasetInfo) -> Source:
    """Not there yet."""
    raise DataError(f"dataset {info.name!r}: the shapes generator is not built yet.")
