from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from raybench.catalog.dataset_sources import TorchvisionSource
from raybench.catalog.datasets import DatasetInfo, find_dataset
from raybench.core.errors import DataError, UnreadableImageError
from raybench.data.loading import load_dataset, read_source
from raybench.data.source import MAY_DOWNLOAD, NotDownloadedError


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYBENCH_DATA", str(tmp_path))
    return tmp_path


SIZES = {"train": 10, "val": 6, "test": 4}


class Divided:
    """A torchvision dataset with `split=`, as Flowers102 is."""

    def __init__(self, root, split="train", download=False):
        if split not in SIZES:
            raise ValueError(f"Unknown value '{split}' for argument split.")
        self.classes = ["a", "b"]
        self.start = list(SIZES).index(split) * 50
        self.size = SIZES[split]

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return Image.fromarray(np.full((5, 5, 3), self.start + index, np.uint8)), index % 2


class Undivided(Divided):
    """A torchvision dataset without any division, as EuroSAT is."""

    def __init__(self, root, download=False):
        super().__init__(root)


class Boxes(Undivided):
    def __getitem__(self, index):
        return super().__getitem__(index)[0], {"boxes": []}


class Broken(Divided):
    def __getitem__(self, index):
        if index == 3:
            raise OSError("truncated")
        return super().__getitem__(index)

    @property
    def targets(self):
        return [i % 2 for i in range(self.size)]


class Absent(Divided):
    def __init__(self, root, split="train", download=False):
        raise RuntimeError("URLError: no network")


def published(monkeypatch, factory, **fields):
    monkeypatch.setattr(torchvision.datasets, "Published", factory, raising=False)
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, "Published"))
    return DatasetInfo(name="t", source=TorchvisionSource("Published"), **fields)


def test_splits_are_found_without_a_mapping(monkeypatch):
    dataset = load_dataset(published(monkeypatch, Divided))
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [10, 6, 4]


def test_a_mapping_is_passed_to_torchvision(monkeypatch):
    source = read_source(published(monkeypatch, Divided, splits={"train": "val"}))
    assert int(source.splits["train"].read(2)[0, 0, 0]) == 52


def test_an_undivided_dataset_is_carved(monkeypatch):
    dataset = load_dataset(published(monkeypatch, Undivided, splits={"train": "all"}))
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [6, 2, 2]


def test_an_unknown_split_is_refused_with_torchvisions_sentence(monkeypatch):
    with pytest.raises(DataError, match=r"torchvision's Published: Unknown value 'dev'"):
        read_source(published(monkeypatch, Divided, splits={"train": "dev"}))


def test_a_dataset_of_boxes_is_refused(monkeypatch):
    with pytest.raises(DataError, match=r"does not have one class per image .* needs classification"):
        read_source(published(monkeypatch, Boxes))


def test_a_broken_image_is_named(monkeypatch):
    with pytest.raises(UnreadableImageError, match=r"image 3 of torchvision's Published train \(truncated\)"):
        load_dataset(published(monkeypatch, Broken))


def test_a_failed_download_is_one_clear_sentence(monkeypatch, root):
    with pytest.raises(
        DataError, match=r"cannot open or download Published into .*no network.*RAYBENCH_DATA"
    ):
        read_source(published(monkeypatch, Absent))


def test_an_unknown_class_gets_a_suggestion():
    with pytest.raises(DataError, match="torchvision has no dataset class 'CIFAR11'; did you mean 'CIFAR10'"):
        read_source(DatasetInfo(name="t", source=TorchvisionSource("CIFAR11")))


SYNONYMS = {
    "n02012849": ("crane",),
    "n03126707": ("crane",),
    "n03710637": ("maillot",),
    "n03710721": ("maillot", "tank suit"),
}
"""Four of ImageNet's classes; two pairs share their first synonym."""


@pytest.fixture
def imagenet(root, draw_folder):
    """A small copy of ImageNet's folder as torchvision expects it after unpacking."""
    draw_folder(root, {"train": dict.fromkeys(SYNONYMS, 5), "val": dict.fromkeys(SYNONYMS, 2)})
    torch.save((SYNONYMS, ["n02012849"] * 8), root / "meta.bin")
    return find_dataset("torchvision:ImageNet")


def test_imagenets_classes_are_known_by_wordnet_id_and_none_collapses(imagenet):
    dataset = load_dataset(imagenet).unlocked()
    assert dataset.class_names == tuple(SYNONYMS)
    assert np.bincount(dataset.test.targets).tolist() == [2, 2, 2, 2]


def test_imagenets_val_is_test_and_val_is_carved_from_train(imagenet):
    dataset = load_dataset(imagenet)
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [16, 4, 8]
    assert dataset.source.origins["test"] == "split 'val' (published evaluation split)"
    assert dataset.source.origins["val"] == "20 % of split 'train', carved"
    assert any("test is the source's validation split" in note for note in dataset.source.notes)


def test_a_test_only_imagenet_is_its_val(imagenet):
    assert len(load_dataset(replace(imagenet, test_only=True)).unlocked().test) == 8


class TwoOrders(Divided):
    def __init__(self, root, split="train", download=False):
        super().__init__(root, split, download)
        self.classes = ["b", "a"] if split == "test" else ["a", "b"]


def test_classes_in_another_order_in_another_split_are_refused(monkeypatch):
    with pytest.raises(DataError, match="has other classes, or another order of them, in one split"):
        read_source(published(monkeypatch, TwoOrders))


class EqualNames(Divided):
    def __init__(self, root, split="train", download=False):
        super().__init__(root, split, download)
        self.classes = ["crane", "crane"]


def test_equal_names_are_told_apart_by_class_id(monkeypatch):
    assert read_source(published(monkeypatch, EqualNames)).class_names == ("crane (0)", "crane (1)")


class Hidden(Divided):
    @property
    def targets(self):
        return [-1] * self.size if self.size == SIZES["test"] else [i % 2 for i in range(self.size)]


def test_hidden_labels_are_refused_with_a_remedy(monkeypatch):
    with pytest.raises(
        DataError, match=r"test split: 4 of 4 images have a label outside 0…1.*hidden.*splits"
    ):
        read_source(published(monkeypatch, Hidden))


class NotThere(Divided):
    def __init__(self, root, split="train", download=False):
        if not download:
            raise RuntimeError("Dataset not found. You can use download=True to download it.")
        raise AssertionError("it must not be downloaded")


def test_nothing_is_downloaded_where_that_is_not_allowed(monkeypatch):
    token = MAY_DOWNLOAD.set(False)
    try:
        with pytest.raises(NotDownloadedError, match="Dataset not found"):
            read_source(published(monkeypatch, NotThere))
    finally:
        MAY_DOWNLOAD.reset(token)


class Listed(Divided):
    """Keeps (path, class) pairs as Imagenette does; reading an image would fail."""

    target_transform = None

    @property
    def _samples(self):
        return [(f"{i}.png", i % 2) for i in range(self.size)]

    def __getitem__(self, index):
        raise AssertionError("labels are read without images")


def test_labels_are_read_from_listed_samples_without_decoding(monkeypatch):
    assert read_source(published(monkeypatch, Listed)).splits["val"].targets.tolist() == [0, 1] * 3
