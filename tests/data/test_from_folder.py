import shutil

import numpy as np
import pytest
from PIL import Image

from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import DataError, UnreadableImageError
from raybench.data.loading import load_dataset, read_source

DIVIDED = {"train": {"cat": 5, "dog": 5}, "test": {"cat": 3, "dog": 2}}


def info(root, **options):
    return DatasetInfo(name="pets", source=FolderSource(str(root)), **options)


def test_folders_become_splits_and_classes(tmp_path, draw_folder):
    source = read_source(info(draw_folder(tmp_path, DIVIDED)))
    assert source.class_names == ("cat", "dog")
    assert source.splits["test"].ids == ["cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png"]
    assert source.splits["test"].targets.tolist() == [0, 0, 0, 1, 1]


def test_a_mapping_assigns_folders_to_splits(tmp_path, draw_folder):
    draw_folder(tmp_path, {"learn": {"cat": 4}, "val": {"cat": 3}})
    source = read_source(info(tmp_path, splits={"train": "learn", "test": "val"}))
    assert {name: len(split.ids) for name, split in source.splits.items()} == {"train": 4, "test": 3}


def test_class_folders_without_splits_are_one_undivided_set(tmp_path, draw_folder):
    draw_folder(tmp_path, {"": {"cat": 10, "dog": 10}})
    dataset = load_dataset(info(tmp_path, splits={"train": "all"}))
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [12, 4, 4]


def test_the_class_of_a_nested_image_is_the_first_folder(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"cat/indoors/2021": 3, "dog": 2}})
    source = read_source(info(tmp_path))
    assert source.class_names == ("cat", "dog")
    assert source.splits["train"].ids[0] == "cat/indoors/2021/0.png"


def test_the_fingerprint_does_not_depend_on_where_the_folder_is(tmp_path, draw_folder):
    draw_folder(tmp_path / "here", DIVIDED)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    one, other = (load_dataset(info(tmp_path / place)) for place in ("here", "there"))
    assert one.fingerprint == other.fingerprint


def test_hidden_files_and_files_that_are_no_images_are_ignored(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "cat" / "._0.png").write_bytes(b"macOS leaves these")
    (tmp_path / "train" / ".cache").mkdir()
    assert len(read_source(info(tmp_path)).splits["train"].ids) == 10


def test_a_changed_file_changes_the_signature(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    before = read_source(info(tmp_path)).splits["train"].signature
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "train" / "cat" / "0.png")
    assert read_source(info(tmp_path)).splits["train"].signature != before


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"dataset 'pets': there is no folder .*nowhere"):
        read_source(info(tmp_path / "nowhere"))


def test_an_empty_class_folder_is_refused(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    (tmp_path / "train" / "emu").mkdir()
    with pytest.raises(DataError, match="class 'emu' has no image in its train split"):
        read_source(info(tmp_path))


def test_a_class_of_another_split_that_has_no_folder_is_refused(tmp_path, draw_folder):
    draw_folder(tmp_path, {**DIVIDED, "test": {"cat": 1}})
    with pytest.raises(DataError, match="class 'dog' has no image in its test split"):
        read_source(info(tmp_path))


def test_a_folder_of_bare_images_is_refused(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"": 2}})
    with pytest.raises(DataError, match="has no class folders"):
        read_source(info(tmp_path))


def test_an_unreadable_image_stops_loading_and_is_named(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    (tmp_path / "train" / "dog" / "1.png").write_bytes(b"broken")
    with pytest.raises(UnreadableImageError, match=r"train/dog/1\.png"):
        load_dataset(info(tmp_path))


def test_unreadable_images_are_skipped_and_counted_under_unreadable_skip(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    (tmp_path / "train" / "dog" / "1.png").write_bytes(b"broken")
    dataset = load_dataset(info(tmp_path, unreadable="skip"))
    assert dataset.hygiene.num_skipped == 1
    assert dataset.hygiene.skipped == ("train/dog/1.png",)
    assert "dog/1.png" not in {*dataset.train.ids, *dataset.val.ids}


def test_a_class_whose_images_are_all_unreadable_is_refused(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    for file in (tmp_path / "test" / "dog").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(DataError, match="class 'dog' has no example in its test split"):
        load_dataset(info(tmp_path, unreadable="skip"))
