"""Datasets that need no download: scikit-learn's digits and the drawn shapes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from raybench.catalog.dataset_sources import NUM_SHAPES
from raybench.catalog.datasets import DATASETS
from raybench.core.errors import DataError
from raybench.data.loading import load_dataset, read_source
from raybench.data.shape_scenes import NUM_IDENTITIES, generate


def test_all_digits_are_there_with_their_labels():
    split = read_source(DATASETS["digits"]).splits["train"]
    assert len(split.ids) == 1797
    np.testing.assert_array_equal(split.targets, load_digits().target)


def test_the_full_grey_range_is_used():
    image = read_source(DATASETS["digits"]).splits["train"].read(0)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[:, :, 1], np.rint(load_digits().images[0] * 255 / 16))


def test_shapes_have_the_stated_sizes_and_ten_classes():
    source = read_source(DATASETS["shapes"])
    sizes = {name: len(split.ids) for name, split in source.splits.items()}
    assert sizes == NUM_SHAPES
    assert len(source.class_names) == 10
    assert source.splits["val"].read(3).shape == (32, 32, 3)


def test_individuals_are_classes_that_every_split_contains():
    dataset = load_dataset(DATASETS["shapes_individuals"])
    assert dataset.num_classes == NUM_IDENTITIES
    for split in ("train", "val"):
        assert set(dataset.split(split).targets.tolist()) == set(range(NUM_IDENTITIES))
    drawn = generate(0, 2000)
    by_id = dict(zip(dataset.train.ids, dataset.train.targets.tolist(), strict=True))
    assert all(drawn.identities[int(name), 0] == target for name, target in by_id.items())


@pytest.mark.parametrize(
    ("name", "splits", "message"),
    [
        ("digits", {"train": "all", "test": "test"}, "scikit-learn's digits has no split 'test'"),
        ("shapes", {"train": "extra"}, "the shapes has no split 'extra'"),
    ],
)
def test_an_unknown_split_is_refused(name, splits, message):
    with pytest.raises(DataError, match=message):
        read_source(replace(DATASETS[name], splits=splits))
