import pytest

from raybench.catalog.datasets import DATASETS, DatasetInfo, find_dataset
from raybench.core.errors import DataError
from raybench.data.from_shapes import SPLITS, read_source
from raybench.data.loading import load_dataset
from raybench.data.shapes import NUM_IDENTITIES, generate


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


def test_individuals_are_classes_that_every_split_meets():
    dataset = load_dataset(DATASETS["shapes_individuals"])
    assert dataset.num_classes == NUM_IDENTITIES
    for split in ("train", "val"):
        assert set(dataset.split(split).targets.tolist()) == set(range(NUM_IDENTITIES))
    drawn = generate(0, 2000)
    by_id = dict(zip(dataset.train.ids, dataset.train.targets.tolist(), strict=True))
    assert all(drawn.identities[int(name), 0] == target for name, target in by_id.items())
