"""Unreadable images: refused, or skipped and counted."""

import numpy as np
import pytest

from raybench.catalog.dataset_info import DatasetInfo
from raybench.core.errors import UnreadableImageError
from raybench.data.image_files import ImageFiles, files_split
from raybench.data.readable import Readable


@pytest.fixture
def split(tmp_path, draw_folder):
    draw_folder(tmp_path, {"": {"a": 3}})
    (tmp_path / "a/1.png").write_bytes(b"no image")
    return files_split(tmp_path, ImageFiles(tmp_path).paths, np.zeros(3, dtype=np.int64))


def test_skipped_images_are_counted_and_named(split):
    readable = Readable(DatasetInfo(name="d", source="folder", unreadable="skip"), None)
    assert readable(split, "train").ids == ["a/0.png", "a/2.png"]
    assert readable.report().skipped == ("train/a/1.png",)
    assert readable.report({"train": 2}).num_duplicates_across_splits == 2


def test_an_unreadable_image_stops_a_dataset_that_does_not_skip(split):
    with pytest.raises(UnreadableImageError, match=r"a/1\.png"):
        Readable(DatasetInfo(name="d", source="folder"), None)(split)
