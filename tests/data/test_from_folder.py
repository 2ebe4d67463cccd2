import os
import shutil

import numpy as np
import pytest
from PIL import Image

from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import DataError, UnreadableImageError
from raybench.data.loading import load_dataset, outline_dataset, read_source

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


def test_a_class_name_with_a_control_character_is_refused(tmp_path, draw_folder):
    draw_folder(tmp_path, {"": {"cat": 2, "dog\x1b[2J": 2}})
    with pytest.raises(
        DataError, match=r"the class name 'dog\\x1b\[2J' has the character '\\x1b' at position 4"
    ):
        read_source(info(tmp_path, splits={"train": "all"}))


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


def test_a_val_without_a_test_is_test_and_val_is_carved_from_train(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"cat": 10, "dog": 10}, "val": {"cat": 3, "dog": 2}})
    dataset = load_dataset(info(tmp_path)).unlocked()
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [16, 4, 5]
    assert dataset.source.origins == {
        "train": "folder train/ without val",
        "val": "20 % of folder train/, carved",
        "test": "folder val/ (published evaluation split)",
    }


def test_a_test_that_is_carved_from_train_is_told(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"cat": 10, "dog": 10}})
    dataset = load_dataset(info(tmp_path))
    assert dataset.source.origins["test"] == "20 % of folder train/, carved"
    assert any("test is carved from train" in note for note in dataset.source.notes)


def test_an_explicit_val_stays_val_and_a_carved_test_is_told(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"cat": 10, "dog": 10}, "val": {"cat": 3, "dog": 2}})
    dataset = load_dataset(info(tmp_path, splits={"train": "train", "val": "val"}))
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [16, 5, 4]
    assert any("test is carved from train" in note for note in dataset.source.notes)


def test_a_class_named_like_a_split_is_told(tmp_path, draw_folder):
    draw_folder(tmp_path, {"": {"car": 5, "train": 5, "truck": 5}})
    source = read_source(info(tmp_path))
    assert source.class_names == ("car", "train", "truck")
    assert source.notes == ("folder train/ is read as a class; if it is a split, say so under `splits`.",)


def test_folders_beside_the_splits_are_told(tmp_path, draw_folder):
    draw_folder(tmp_path, {**DIVIDED, "": {"meta": 2}})
    notes = read_source(info(tmp_path)).notes
    assert notes == ("folder meta/ is not read, because it is none of the splits.",)


def test_files_left_out_are_told_once_for_all_splits(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    for path in ("cover.png", "train/cat/1.heic", "test/dog/2.heic", "test/list.txt"):
        (tmp_path / path).touch()
    assert read_source(info(tmp_path)).notes == (
        "4 files left out: 2 outside class folders ('cover.png', …); 2 with the suffix .heic "
        "('train/cat/1.heic', …).",
    )


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "train")], ids=["two splits", "one"])
def test_class_folders_in_two_unicode_forms_are_refused(tmp_path, draw_folder, splits):
    draw_folder(tmp_path, DIVIDED)
    for split, name in zip(splits, ("caf\u00e9", "cafe\u0301"), strict=True):
        draw_folder(tmp_path, {split: {name: 2}})
    with pytest.raises(DataError, match=r"'cafe\\u0301' and 'caf\\xe9' look alike"):
        read_source(info(tmp_path))


@pytest.mark.parametrize("unreadable", ["error", "skip"])
def test_a_link_to_nothing_is_refused_or_skipped_and_counted(tmp_path, draw_folder, unreadable):
    draw_folder(tmp_path, DIVIDED)
    (tmp_path / "train" / "cat" / "link.png").symlink_to(tmp_path / "gone.png")
    if unreadable == "error":
        with pytest.raises(UnreadableImageError, match=r"cat/link\.png.* is a link to nothing"):
            load_dataset(info(tmp_path))
    else:
        assert load_dataset(info(tmp_path, unreadable="skip")).hygiene.skipped == ("train/cat/link.png",)


def test_a_pipe_among_the_images_is_left_out_and_told(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    os.mkfifo(tmp_path / "train" / "cat" / "pipe.png")
    dataset = load_dataset(info(tmp_path))
    assert dataset.source.notes == ("1 file left out: 1 not a regular file ('train/cat/pipe.png').",)


def test_the_outline_has_the_splits_of_the_dataset_and_decodes_nothing(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    loaded = load_dataset(info(tmp_path)).unlocked()
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"broken")
    outline = outline_dataset(info(tmp_path)).unlocked()
    assert [outline.split(name).ids for name in ("train", "val", "test")] == [
        loaded.split(name).ids for name in ("train", "val", "test")
    ]


def test_a_class_without_an_image_is_refused_with_what_was_left_out(tmp_path, draw_folder):
    draw_folder(tmp_path, DIVIDED)
    (tmp_path / "train" / "emu").mkdir()
    (tmp_path / "train" / "emu" / "1.heic").touch()
    with pytest.raises(
        DataError, match=r"'emu' has no image .* 1 with the suffix \.heic \('train/emu/1\.heic'\)"
    ):
        read_source(info(tmp_path))
