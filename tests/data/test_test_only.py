"""Test-only datasets: all of their images are test."""

import pytest

from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo, dataset_of
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


@pytest.mark.parametrize("name", ["test", "Validation"])
def test_a_folder_that_holds_only_an_evaluation_split_is_that_split(tmp_path, draw_folder, name):
    draw_folder(tmp_path, {name: {"a": 2, "b": 3}})
    found = dataset_of("f", FolderSource(str(tmp_path)), test_only=True)
    dataset = load_dataset(found).unlocked()
    assert (dataset.class_names, len(dataset.test)) == (("a", "b"), 5)
    assert dataset.source.origins == {"test": f"folder {name}/ (published evaluation split)"}
