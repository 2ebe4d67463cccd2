"""What every row of the dataset catalogue must obey. A new row fails here until COPIES has a copy of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from raybench.catalog.dataset_info import DatasetInfo, in_data_folder
from raybench.catalog.datasets import DATASETS
from raybench.core.errors import SplitLockedError
from raybench.core.records import Split
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset
from tests.contracts.dataset_files import COPIES, Expected, without_checksums

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Loaded:
    """A row, the copy that was written for it, and what loading the copy gave."""

    info: DatasetInfo
    expected: Expected
    dataset: Dataset
    root: Path


def load(name: str) -> Dataset:
    info = DATASETS[name]
    return load_dataset(in_data_folder(info) if info.steps else info)


@pytest.fixture(scope="module", params=DATASETS)
def loaded(request, tmp_path_factory) -> Iterator[Loaded]:
    """Each row, loaded from a copy in its true format; tests of one row follow each other."""
    name = request.param
    root = tmp_path_factory.mktemp(name) / "data"
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_checksums(monkeypatch)
        monkeypatch.setenv("RAYBENCH_DATA", str(root))
        expected = COPIES[name](root)
        yield Loaded(DATASETS[name], expected, load(name), root)


def test_every_row_has_a_copy():
    assert set(COPIES) == set(DATASETS)


def test_the_copy_has_as_many_classes_as_the_row_states(loaded):
    assert loaded.info.num_classes in (None, len(loaded.expected.class_names))


def test_classes_have_their_published_names(loaded):
    assert loaded.dataset.class_names == loaded.expected.class_names


def test_no_image_is_lost_and_splits_have_their_sizes(loaded):
    assert tuple(loaded.dataset.num_examples(name) for name in SPLITS) == loaded.expected.sizes
    assert loaded.dataset.hygiene.num_skipped == 0
    assert loaded.dataset.hygiene.num_duplicates_across_splits == 0


def test_no_image_is_in_two_splits(loaded):
    opened = loaded.dataset.unlocked()
    hashes = [value for name in SPLITS for value in set(opened.split(name).pixel_hashes)]
    assert len(set(hashes)) == len(hashes)


def test_targets_are_of_the_stated_annotation(loaded):
    opened = loaded.dataset.unlocked()
    assert loaded.info.annotation == "classes"  # The check of another kind belongs here, with its first row.
    for name in SPLITS:
        targets = opened.split(name).targets
        assert (targets.dtype, targets.ndim) == (np.dtype(np.int64), 1)
        assert set(targets.tolist()) <= set(range(opened.num_classes))


def test_every_class_is_in_every_split_unless_queries_divide_the_dataset(loaded):
    if loaded.info.queries is None:
        for name in SPLITS:
            targets = loaded.dataset.unlocked().split(name).targets
            assert len(np.unique(targets)) == loaded.dataset.num_classes


def test_images_are_rgb_bytes(loaded):
    image = loaded.dataset.train.image(0)
    assert (image.dtype, image.ndim, image.shape[2]) == (np.dtype(np.uint8), 3, 3)
    assert image.std() > 0


def test_test_is_locked(loaded):
    with pytest.raises(SplitLockedError):
        _ = loaded.dataset.test


def test_the_fingerprint_is_the_same_again_and_from_another_folder(loaded, tmp_path, monkeypatch):
    if loaded.root.is_dir():
        loaded.root.rename(tmp_path / "moved")
        monkeypatch.setenv("RAYBENCH_DATA", str(tmp_path / "moved"))
    try:
        assert load(loaded.info.name).fingerprint == loaded.dataset.fingerprint
    finally:
        if (tmp_path / "moved").is_dir():
            (tmp_path / "moved").rename(loaded.root)
