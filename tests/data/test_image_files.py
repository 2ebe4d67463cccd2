"""Lookup of image files by path or name."""

import os

import pytest

from raybench.core.errors import DataError
from raybench.data.image_files import ImageFiles, LeftOut, walk


@pytest.fixture
def files(tmp_path):
    for name in ("a/one.jpg", "b/two.png", "b/one.jpg", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return ImageFiles(tmp_path)


def test_paths_are_sorted_and_images_only(files):
    assert files.paths == ("a/one.jpg", "b/one.jpg", "b/two.png")
    assert files.below("b") == ("b/one.jpg", "b/two.png")


@pytest.mark.parametrize("name", ["b/two.png", "b/two", "two.png", "two"])
def test_a_file_is_found_by_path_or_name_with_or_without_suffix(files, name):
    assert files.paths_of([name], "here") == ("b/two.png",)


def test_a_path_takes_precedence_over_a_file_name(tmp_path):
    for name in ("one.jpg", "b/one.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert ImageFiles(tmp_path).paths_of(["one.jpg"], "here") == ("one.jpg",)


def test_an_ambiguous_name_is_refused(files):
    with pytest.raises(DataError, match=r"'one' may be 'a/one.jpg' or 'b/one.jpg' in .*; write the path"):
        files.paths_of(["one"], "here")


def test_an_unknown_name_is_refused_with_a_suggestion(files):
    with pytest.raises(DataError, match=r"here: there is no image 'tow' below .*; did you mean 'two'"):
        files.paths_of(["tow"], "here")


def test_a_link_back_to_a_folder_above_is_not_followed(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 3}})
    (tmp_path / "train" / "a" / "loop").symlink_to(tmp_path / "train", target_is_directory=True)
    assert len(list(walk(tmp_path))) == 3


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path, draw_folder):
    draw_folder(tmp_path / "elsewhere", {"b": {"c": 2}})
    draw_folder(tmp_path / "here", {"train": {"a": 3}})
    (tmp_path / "here" / "train" / "b").symlink_to(tmp_path / "elsewhere" / "b", target_is_directory=True)
    assert len(list(walk(tmp_path / "here"))) == 5


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "@eaDir", "__MACOSX"])
def test_hidden_and_system_folders_are_skipped(tmp_path, draw_folder, hidden):
    draw_folder(tmp_path, {"train": {"a": 3}})
    draw_folder(tmp_path / "train" / "a", {hidden: {"x": 2}})
    assert len(list(walk(tmp_path))) == 3


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPEG", ".jp2", ".avif", ".pnm", ".Tiff"])
def test_every_common_suffix_counts_in_any_case(tmp_path, suffix):
    (tmp_path / f"image{suffix}").touch()
    assert [path.name for path in walk(tmp_path)] == [f"image{suffix}"]


def test_files_that_are_left_out_are_counted_and_named(tmp_path):
    names = ("a/1.png", "a/2.heic", "a/3.heic", "a/noise", "a/.hidden.png", ".cache/x/1.png", "@eaDir/1.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "a" / "pipe.png")
    left_out = LeftOut(tmp_path)
    assert [path.name for path in walk(tmp_path, left_out)] == ["1.png"]
    assert left_out.sentence == (
        "7 files left out: 2 in hidden or system folders ('.cache', …); 2 with the suffix .heic "
        "('a/2.heic', …); 1 hidden ('a/.hidden.png'); 1 without a suffix ('a/noise'); "
        "1 not a regular file ('a/pipe.png')."
    )


def test_nothing_is_said_where_nothing_is_left_out(tmp_path):
    (tmp_path / "1.png").touch()
    left_out = LeftOut(tmp_path)
    assert len(list(walk(tmp_path, left_out))) == 1
    assert left_out.sentence == ""


@pytest.mark.parametrize("target", ["gone.png", "1.png"], ids=["to nothing", "to itself"])
def test_a_link_to_nothing_is_listed_so_that_reading_it_fails_by_name(tmp_path, target):
    (tmp_path / "1.png").symlink_to(tmp_path / target)
    assert [path.name for path in walk(tmp_path)] == ["1.png"]
