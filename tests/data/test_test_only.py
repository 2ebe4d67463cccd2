"""Test-only datasets: all of their images are test."""

import pytest

from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import SplitLockedError
from raybench.data.loading import load_dataset


def info(root, **options):
    return DatasetInfo(name="f", source=FolderSource(str(root)), test_only=True, **options)


def test_every_image_is_test_and_no_class_needs_more_than_one(tmp_path, draw_folder):
    draw_folder(tmp_path, {"": {"a": 1, "b": 3}})
    dataset = load_dataset(info(tmp_path, splits={"train": "all"})).unlocked()
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [0, 0, 4]
    assert dataset.class_names == ("a", "b")


def test_only_the_split_named_for_test_is_read(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 5}, "test": {"a": 2}})
    dataset = load_dataset(info(tmp_path, splits={"test": "test"})).unlocked()
    assert len(dataset.test) == 2


def test_its_test_split_is_locked_like_any_other(tmp_path, draw_folder):
    draw_folder(tmp_path, {"": {"a": 2}})
    dataset = load_dataset(info(tmp_path, splits={"test": "all"}))
    with pytest.raises(SplitLockedError):
        len(dataset.test)
