import numpy as np
import pytest
import torchvision
from PIL import Image

from raybench.catalog.dataset_sources import TorchvisionSource
from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import DataError, UnreadableImageError
from raybench.data.loading import load_dataset, read_source


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
