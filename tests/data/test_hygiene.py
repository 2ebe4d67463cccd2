import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import FolderSource
from raybench.core.errors import UnreadableImageError
from raybench.data.hygiene import MAX_LISTED, UNREADABLE, ImageCheck, pixel_hashes, without_duplicates
from raybench.data.source import SourceSplit


class Counting:
    """Reads noise images, fails at some positions, and counts."""

    def __init__(self, broken=()):
        self.broken, self.num_reads = set(broken), 0

    def __call__(self, position):
        self.num_reads += 1
        if position in self.broken:
            raise UnreadableImageError(f"image {position}")
        return np.full((2, 2, 3), position, dtype=np.uint8)


def split_of(read, signature="s", n=5):
    return SourceSplit(
        ids=[str(i) for i in range(n)], targets=np.zeros(n, dtype=int), read=read, signature=signature
    )


def test_with_a_cache_no_image_is_decoded_twice(tmp_path):
    read = Counting()
    first = pixel_hashes(split_of(read), skip_unreadable=False, cache=tmp_path)
    assert pixel_hashes(split_of(read), skip_unreadable=False, cache=tmp_path) == first
    assert read.num_reads == 5


def test_of_several_workers_one_decodes_and_the_others_wait(tmp_path):
    decodes, has_begun = [], threading.Event()

    class Slow(Counting):
        def __call__(self, position):
            decodes.append(position)
            has_begun.set()
            time.sleep(0.01)
            return super().__call__(position)

    def hash_all() -> list[str]:
        return pixel_hashes(split_of(Slow()), skip_unreadable=False, cache=tmp_path)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(hash_all)
        has_begun.wait()
        others = [pool.submit(hash_all) for _ in range(2)]
        assert {tuple(future.result()) for future in (first, *others)} == {tuple(first.result())}
    assert sorted(decodes) == [0, 1, 2, 3, 4]


def test_hashes_of_the_first_version_are_read(tmp_path):
    read = Counting()
    good = pixel_hashes(split_of(read), skip_unreadable=False, cache=tmp_path)
    (file,) = tmp_path.glob("*.json")
    file.write_text(json.dumps(good))
    assert pixel_hashes(split_of(read), skip_unreadable=False, cache=tmp_path) == good
    assert read.num_reads == 5


def test_a_changed_source_is_decoded_again(tmp_path):
    read = Counting()
    for signature in ("before", "after"):
        pixel_hashes(split_of(read, signature), skip_unreadable=False, cache=tmp_path)
    assert read.num_reads == 10


@pytest.mark.parametrize("content", ["", "{", json.dumps(["too few"])])
def test_a_damaged_cache_is_ignored(tmp_path, content):
    good = pixel_hashes(split_of(Counting()), skip_unreadable=False, cache=tmp_path)
    for file in tmp_path.iterdir():
        file.write_text(content)
    assert pixel_hashes(split_of(Counting()), skip_unreadable=False, cache=tmp_path) == good


def test_an_unreadable_image_raises_or_is_marked():
    assert pixel_hashes(split_of(Counting([2])), skip_unreadable=True, cache=None)[2] == UNREADABLE
    with pytest.raises(UnreadableImageError, match="image 2"):
        pixel_hashes(split_of(Counting([2])), skip_unreadable=False, cache=None)


def test_a_cached_unreadable_image_still_raises_when_it_may_not_be_skipped(tmp_path):
    pixel_hashes(split_of(Counting([2])), skip_unreadable=True, cache=tmp_path)
    with pytest.raises(UnreadableImageError):
        pixel_hashes(split_of(Counting([2])), skip_unreadable=False, cache=tmp_path)


def test_train_loses_duplicates_of_val_and_test_and_test_loses_none():
    kept = without_duplicates(
        {"train": ["a", "b", "c", "d"], "val": ["c", "e", "d"], "test": ["d", "d", "f"]}
    )
    assert {name: positions.tolist() for name, positions in kept.items()} == {
        "train": [0, 1],
        "val": [0, 1],
        "test": [0, 1, 2],
    }


def test_duplicates_within_one_split_are_kept():
    assert without_duplicates({"train": ["a", "a"]})["train"].tolist() == [0, 1]


def check(unreadable="error"):
    return ImageCheck(DatasetInfo(name="d", source=FolderSource(""), unreadable=unreadable), None)


def test_skipped_images_are_counted_and_named():
    checked = check("skip")
    assert checked.readable(split_of(Counting([1])), "train").ids == ["0", "2", "3", "4"]
    assert checked.report().skipped == ("train/1",)
    assert checked.report({"train": 2}).num_duplicates_across_splits == 2


def test_a_report_counts_all_skipped_images_and_names_the_first():
    checked = check("skip")
    checked.readable(split_of(Counting(range(30)), n=40), "train")
    report = checked.report()
    assert (report.num_skipped, len(report.skipped)) == (30, MAX_LISTED)


def test_an_unreadable_image_stops_a_dataset_that_does_not_skip():
    with pytest.raises(UnreadableImageError, match="image 1"):
        check().readable(split_of(Counting([1])))
