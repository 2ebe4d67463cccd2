"""Which folders are splits and which are classes."""

import pytest

from raybench.catalog.folder_layout import folder_splits, spelt_splits
from raybench.core.errors import DataError


def make(root, *paths):
    """Empty files and folders below `root`; a path with a suffix is a file."""
    for path in paths:
        target = root / path
        (target.parent if target.suffix else target).mkdir(parents=True, exist_ok=True)
        if target.suffix:
            target.touch()
    return root


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "val", "test"], {"train": "train", "val": "val", "test": "test"}),
        (["Train", "VALID", "Testing"], {"train": "Train", "val": "VALID", "test": "Testing"}),
        (["train", "val"], {"train": "train", "test": "val"}),
        (["TRAINING", "Validation", "meta"], {"train": "TRAINING", "test": "Validation"}),
        (["val", "test"], {"val": "val", "test": "test"}),
        (["train"], {"train": "train"}),
        (["trainer", "test_images"], {}),
    ],
)
def test_splits_are_found_in_any_spelling_and_a_val_without_test_is_test(names, expected):
    assert spelt_splits(names) == expected


@pytest.mark.parametrize("names", [["train", "val", "validation"], ["Train", "train"]])
def test_two_spellings_of_one_split_are_refused(names):
    with pytest.raises(DataError, match=r"may each be the .* split; say which one is with `splits: {"):
        spelt_splits(names)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["train/cat/1.png", "test/cat/1.png"], {"train": "train", "test": "test"}),
        (["Train/cat/1.png", "Test/cat/1.png"], {"train": "Train", "test": "Test"}),
        (["train/cat/1.png", "val/cat/1.png"], {"train": "train", "test": "val"}),
        (["cat/1.png", "dog/1.png"], {"train": "all"}),
        (["train/train/1.png", "train/car/1.png", "test/train/1.png"], {"train": "train", "test": "test"}),
        (["car/1.png", "train/1.JPG", "truck/1.png"], {"train": "all"}),
        (["car/1.png", "train/1.png", "train/steam/1.png"], {"train": "all"}),
        (["car/1.png", "test/1.png", "val/1.png"], {"train": "all"}),
        (["train/cat/1.png", "test/cat/1.png", "samples/1.png"], {"train": "train", "test": "test"}),
        (["train/cat/1.png", "train/labels.csv", "train/1.png"], {"train": "train"}),
        (["train/1.png"], {"train": "train"}),
        ([".test/cat/1.png", "cat/1.png"], {"train": "all"}),
    ],
)
def test_a_folder_of_folders_is_a_split_and_one_of_images_beside_classes_is_a_class(
    tmp_path, paths, expected
):
    assert folder_splits(make(tmp_path, *paths)) == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["test/cat/1.png"], {"test": "test"}),
        (["Test/cat/1.png"], {"test": "Test"}),
        (["validation/cat/1.png"], {"test": "validation"}),
        (["train/cat/1.png", "val/cat/1.png"], {"train": "train", "test": "val"}),
        (["car/1.png", "train/1.png"], {"train": "all"}),
        (["cat/1.png"], {"train": "all"}),
        (["test/1.png"], {"train": "all"}),
    ],
)
def test_a_test_only_folder_needs_no_train(tmp_path, paths, expected):
    assert folder_splits(make(tmp_path, *paths), test_only=True) == expected


@pytest.mark.parametrize("name", ["test", "VAL"])
def test_an_evaluation_split_without_train_is_refused(tmp_path, name):
    make(tmp_path, f"{name}/cat/1.png")
    with pytest.raises(DataError, match=f"has the split {name} but none for train"):
        folder_splits(tmp_path)


def test_a_folder_that_may_be_a_split_or_a_class_is_refused(tmp_path):
    make(tmp_path, "train/steam/1.png", "train/diesel/1.png", "car/1.png")
    with pytest.raises(DataError, match=r"may be a split or a class; write `splits: {train: train}` or"):
        folder_splits(tmp_path)
