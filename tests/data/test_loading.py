import shutil
from dataclasses import replace

import numpy as np
import pytest

from raybench.catalog.dataset_sources import FolderSource, FunctionSource
from raybench.catalog.datasets import DatasetInfo, find_dataset
from raybench.core.errors import DataError
from raybench.data.loading import load_dataset

SPLITS = ("train", "val", "test")


def test_a_reader_that_no_installed_row_names_is_not_called():
    info = DatasetInfo(name="theirs", source=FunctionSource("os:system"))
    with pytest.raises(DataError, match="'theirs' is read by 'os:system', which no installed dataset row"):
        load_dataset(info)


def folder(root, **options):
    return DatasetInfo(name="f", source=FolderSource(str(root)), **options)


def ids(dataset, split):
    return set(dataset.unlocked().split(split).ids)


def test_digits_have_three_disjoint_stratified_splits():
    dataset = load_dataset(find_dataset("digits")).unlocked()
    hashes = [set(dataset.split(name).pixel_hashes) for name in SPLITS]
    assert sum(map(len, hashes)) == len(set().union(*hashes))
    for name in SPLITS:
        shares = np.bincount(dataset.split(name).targets) / len(dataset.split(name))
        np.testing.assert_allclose(shares, 0.1, atol=0.012)


def test_the_fingerprint_of_digits_has_not_changed():
    """Moves only with scikit-learn's images or raybench's carving; features cached by users go with it."""
    assert load_dataset(find_dataset("digits")).fingerprint == "3ea34e26191f2498"


def test_loading_twice_gives_the_same_dataset():
    info = find_dataset("digits_10shot")
    assert load_dataset(info).fingerprint == load_dataset(info).fingerprint


def test_few_shots_cap_train_and_val_and_leave_test_alone():
    full, few = load_dataset(find_dataset("digits")), load_dataset(find_dataset("digits_10shot"))
    assert np.bincount(few.train.targets).tolist() == [8] * 10
    assert np.bincount(few.val.targets).tolist() == [2] * 10
    assert few.split_fingerprint("test") == full.split_fingerprint("test")
    assert ids(few, "train") | ids(few, "val") <= ids(full, "train") | ids(full, "val")


def test_a_few_shot_cap_counts_a_published_val_too(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 20}, "val": {"a": 20}, "test": {"a": 5}})
    dataset = load_dataset(folder(tmp_path, examples_per_class=10))
    assert [dataset.num_examples(name) for name in SPLITS] == [8, 2, 5]


def test_one_shot_is_refused_because_val_needs_one_too():
    with pytest.raises(
        DataError, match="'digits' caps a class at 1 examples, but train and val need one each"
    ):
        load_dataset(replace(find_dataset("digits"), examples_per_class=1))


def test_val_is_never_carved_from_test(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 10}, "test": {"a": 5}})
    dataset = load_dataset(folder(tmp_path))
    assert [dataset.num_examples(name) for name in SPLITS] == [8, 2, 5]


def test_images_copied_from_test_into_train_are_dropped_and_counted(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 10}, "test": {"a": 5}})
    for i in range(3):
        shutil.copy(tmp_path / "test" / "a" / f"{i}.png", tmp_path / "train" / "a" / f"leak{i}.png")
    dataset = load_dataset(folder(tmp_path))
    assert dataset.hygiene.num_duplicates_across_splits == 3
    assert dataset.hygiene.duplicates_removed == {"train": 3, "val": 0, "test": 0}
    assert dataset.num_examples("test") == 5
    assert not any("leak" in name for name in ids(dataset, "train") | ids(dataset, "val"))


def test_duplicates_within_train_are_not_split_between_train_and_a_carved_val(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 10}, "test": {"a": 2}})
    for i in range(10):
        shutil.copy(tmp_path / "train" / "a" / f"{i}.png", tmp_path / "train" / "a" / f"copy{i}.png")
    dataset = load_dataset(folder(tmp_path))
    assert not set(dataset.train.pixel_hashes) & set(dataset.val.pixel_hashes)
    assert dataset.hygiene.duplicates_removed["train"] > 0


def test_another_number_of_classes_than_stated_is_refused(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 4, "b": 4}})
    with pytest.raises(DataError, match="should have 3 classes, its source has 2: a, b"):
        load_dataset(folder(tmp_path, num_classes=3))


def test_a_class_without_examples_after_removing_duplicates_is_refused(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 4, "b": 1}, "val": {"a": 2, "b": 1}, "test": {"a": 1, "b": 1}})
    shutil.copy(tmp_path / "test" / "b" / "0.png", tmp_path / "val" / "b" / "0.png")
    with pytest.raises(DataError, match="class 'b' has no example in its val split"):
        load_dataset(folder(tmp_path))


def test_the_fingerprint_is_the_same_with_and_without_a_cache(tmp_path):
    info = find_dataset("digits")
    plain = load_dataset(info).fingerprint
    assert [load_dataset(info, cache=tmp_path).fingerprint for _ in range(2)] == [plain, plain]
