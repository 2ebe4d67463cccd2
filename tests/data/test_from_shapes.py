import pytest

from raybench.catalog.datasets import DatasetInfo, find_dataset
from raybench.data.from_shapes import SPLITS, read_source
from raybench.errors import DataError


def test_the_splits_have_the_stated_sizes_and_ten_classes():
    source = read_source(find_dataset("shapes"))
    assert {name: len(split.ids) for name, split in source.splits.items()} == {
        name: count for name, (_, count) in SPLITS.items()
    }
    assert len(source.class_names) == 10
    assert source.splits["val"].read(3).shape == (32, 32, 3)


def test_another_split_is_refused():
    with pytest.raises(DataError, match="the shapes has no split 'extra'"):
        read_source(DatasetInfo(name="s", source="shapes", splits={"train": "extra"}))
