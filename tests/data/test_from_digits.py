import numpy as np
import pytest
from sklearn.datasets import load_digits

from raybench.catalog.datasets import DatasetInfo, find_dataset
from raybench.core.errors import DataError
from raybench.data.from_digits import read_source


def test_all_digits_are_there_with_their_labels():
    split = read_source(find_dataset("digits")).splits["train"]
    assert len(split.ids) == 1797
    np.testing.assert_array_equal(split.labels, load_digits().target)


def test_the_full_grey_range_is_used():
    split = read_source(find_dataset("digits")).splits["train"]
    image = split.read(0)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[:, :, 1], np.rint(load_digits().images[0] * 255 / 16))


def test_another_split_than_all_is_refused():
    with pytest.raises(DataError, match="scikit-learn's digits has no split 'test'"):
        read_source(DatasetInfo(name="d", source="digits", splits={"train": "all", "test": "test"}))
