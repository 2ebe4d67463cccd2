"""Small copies of the catalogue's datasets, in the files and formats that their publishers ship.

Every copy has the dataset's true number of classes and few images of each. What cannot be copied is the
publishers' checksums: `without_checksums` sets torchvision's comparison of them aside.
"""

import json
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from scipy.io import savemat

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DATASETS
from raybench.data.shape_scenes import CLASS_NAMES, NUM_IDENTITIES


@dataclass(frozen=True)
class Expected:
    """What loading a copy must give."""

    class_names: tuple[str, ...]
    sizes: tuple[int, int, int]
    """Examples of train, val and test."""


def without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have torchvision accept any file of the right name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("torchvision.datasets") and hasattr(module, "check_integrity"):
            monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())


def noise(key: str, size: int = 8) -> np.ndarray:
    """An image of noise that follows from `key`: uint8 [size, size, 3]."""
    return np.random.default_rng(list(key.encode())).integers(0, 256, (size, size, 3), dtype=np.uint8)


def draw(root: Path, *paths: str) -> None:
    """Write an image of noise at each path below `root`, no two alike."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(path)).save(file)


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def members(num_classes: int, per_class: Mapping[str, int]) -> Iterator[tuple[str, int, str]]:
    """(Split, class id, name of an image) of every image; names are unique across splits."""
    for split, count in per_class.items():
        for label in range(num_classes):
            yield from ((split, label, f"{label:03d}_{split}_{i}") for i in range(count))


TRAIN_TEST = {"train": 5, "test": 2}
"""Images per class; train is divided 4 : 1 for val."""
TRAIN_VAL_TEST = {"train": 3, "val": 2, "test": 2}


def expected(class_names: tuple[str, ...], train: int, val: int, test: int) -> Expected:
    """Sizes from images per class."""
    return Expected(class_names, (train * len(class_names), val * len(class_names), test * len(class_names)))


def cifar10(root: Path) -> Expected:
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for batch, copies in {**{f"data_batch_{i}": 1 for i in range(1, 6)}, "test_batch": 2}.items():
        _cifar_file(folder / batch, "labels", 10, copies)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(names)}))
    return expected(names, 4, 1, 2)


def cifar100(root: Path) -> Expected:
    names = tuple(f"fine_{i:02d}" for i in range(100))
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for split, count in TRAIN_TEST.items():
        _cifar_file(folder / split, "fine_labels", 100, count)
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(names)}))
    return expected(names, 4, 1, 2)


def _cifar_file(path: Path, key: str, num_classes: int, per_class: int) -> None:
    """A CIFAR pickle: rows of 3,072 bytes, channel by channel."""
    labels = [label for label in range(num_classes) for _ in range(per_class)]
    images = [noise(f"{path.name}/{i}", 32).transpose(2, 0, 1).ravel() for i in range(len(labels))]
    path.write_bytes(pickle.dumps({"data": np.stack(images), key: labels}))


def flowers102(root: Path) -> Expected:
    folder = root / "flowers-102"
    ids: dict[str, list[int]] = {split: [] for split in TRAIN_VAL_TEST}
    labels = []
    for number, (split, label, _) in enumerate(members(102, TRAIN_VAL_TEST), start=1):
        draw(folder, f"jpg/image_{number:05d}.jpg")
        ids[split].append(number)
        labels.append(label + 1)
    savemat(folder / "imagelabels.mat", {"labels": labels})
    savemat(folder / "setid.mat", {"trnid": ids["train"], "valid": ids["val"], "tstid": ids["test"]})
    return expected(tuple(torchvision.datasets.Flowers102.classes), 3, 2, 2)


def aircraft(root: Path) -> Expected:
    names = tuple(f"Boeing 7{i:02d}-200" for i in range(100))
    data = root / "fgvc-aircraft-2013b/data"
    write(data / "variants.txt", "".join(f"{name}\n" for name in names))
    lines: dict[str, list[str]] = {split: [] for split in TRAIN_VAL_TEST}
    for split, label, image in members(100, TRAIN_VAL_TEST):
        draw(data, f"images/{image}.jpg")
        lines[split].append(f"{image} {names[label]}\n")
    for split, rows in lines.items():
        write(data / f"images_variant_{split}.txt", "".join(rows))
    return expected(names, 3, 2, 2)


def eurosat(root: Path) -> Expected:
    names = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture")
    names = (*names, "PermanentCrop", "Residential", "River", "SeaLake")
    draw(root, *(f"eurosat/2750/{name}/{name}_{i}.jpg" for name in names for i in range(10)))
    return expected(names, 6, 2, 2)


def dtd(root: Path) -> Expected:
    names = tuple(f"texture_{i:02d}" for i in range(47))
    lines: dict[str, list[str]] = {split: [] for split in TRAIN_VAL_TEST}
    for split, label, image in members(47, TRAIN_VAL_TEST):
        draw(root / "dtd/dtd/images", f"{names[label]}/{image}.jpg")
        lines[split].append(f"{names[label]}/{image}.jpg\n")
    for split, rows in lines.items():
        write(root / f"dtd/dtd/labels/{split}1.txt", "".join(rows))
    return expected(names, 3, 2, 2)


def pets(root: Path) -> Expected:
    folder = root / "oxford-iiit-pet"
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    for number, (split, label, _) in enumerate(members(37, {"trainval": 5, "test": 2})):
        image = f"breed_{label:02d}_{number}"
        draw(folder, f"images/{image}.jpg")
        lines[split].append(f"{image} {label + 1} 1 1\n")
    for split, rows in lines.items():
        write(folder / f"annotations/{split}.txt", "".join(rows))
    return expected(tuple(f"Breed {i:02d}" for i in range(37)), 4, 1, 2)


def food101(root: Path) -> Expected:
    names = tuple(f"dish_{i:03d}" for i in range(101))
    images: dict[str, dict[str, list[str]]] = {split: {name: [] for name in names} for split in TRAIN_TEST}
    for split, label, image in members(101, TRAIN_TEST):
        draw(root / "food-101/images", f"{names[label]}/{image}.jpg")
        images[split][names[label]].append(f"{names[label]}/{image}")
    for split, by_class in images.items():
        write(root / f"food-101/meta/{split}.json", json.dumps(by_class))
    return expected(names, 4, 1, 2)


def svhn(root: Path) -> Expected:
    root.mkdir(parents=True)
    for split, count in TRAIN_TEST.items():
        images = [noise(image, 32) for _, _, image in members(10, {split: count})]
        labels = [[label or 10] for _, label, _ in members(10, {split: count})]  # SVHN's 0 is class 10.
        savemat(root / f"{split}_32x32.mat", {"X": np.stack(images, axis=3), "y": np.array(labels, np.uint8)})
    return expected(tuple("0123456789"), 4, 1, 2)


def stl10(root: Path) -> Expected:
    names = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for split, count in TRAIN_TEST.items():
        # Channel by channel, each column by column.
        images = [noise(image, 96).transpose(2, 1, 0) for _, _, image in members(10, {split: count})]
        np.stack(images).tofile(folder / f"{split}_X.bin")
        labels = [label + 1 for _, label, _ in members(10, {split: count})]
        np.array(labels, dtype=np.uint8).tofile(folder / f"{split}_y.bin")
    np.zeros((1, 3, 96, 96), dtype=np.uint8).tofile(folder / "unlabeled_X.bin")
    write(folder / "class_names.txt", "".join(f"{name}\n" for name in names))
    return expected(names, 4, 1, 2)


def class_folders(folder: str, num_classes: int, num_large: int) -> Callable[[Path], Expected]:
    """Class folders: the first `num_large` have 5 images, of which one becomes a query; the others have 1."""

    def write_folders(root: Path) -> Expected:
        names = tuple(f"class_{i:05d}" for i in range(num_classes))
        for i, name in enumerate(names):
            draw(root, *(f"{folder}/{name}/{k}.png" for k in range(5 if i < num_large else 1)))
        (root / folder / names[0] / "boxes.txt").touch()  # INSTRE has text files between its images.
        return Expected(names, (3 * num_large + num_classes - num_large, num_large, num_large))

    return write_folders


OXFORD = {
    "imlist": ["all_souls_1", "all_souls_2", "bodleian_1", "bodleian_2"],
    "qimlist": ["all_souls_0", "bodleian_0"],
    "gnd": [
        {"easy": [0], "hard": [1], "junk": [], "bbx": [1.0, 1.0, 5.0, 5.0]},
        {"easy": [2], "hard": [], "junk": [3], "bbx": [1.0, 1.0, 5.0, 5.0]},
    ],
}
"""revisitop's ground truth, as JSON: two buildings, two queries, four images."""


def revisited(name: str, suffix: str = "") -> Callable[[Path], Expected]:
    """Oxford or Paris, with distractors beside them."""

    def write_folders(root: Path) -> Expected:
        # Paris's images come in a folder for each landmark.
        draw(root, *(f"{name}/jpg/{image.split('_')[0]}/{image}.jpg" for image in OXFORD["imlist"]))
        draw(root, *(f"{name}/jpg/{image}.jpg" for image in OXFORD["qimlist"]))
        draw(root, "revisitop1m/a1/noise.jpg")
        write(root / name / "gnd.json", json.dumps(OXFORD))
        return Expected(("any",), (4, 1, 1) if suffix == "_tuned" else (4, 0, 2))

    return write_folders


def landmarks(root: Path) -> Expected:
    folder = root / "google_landmarks_v2"
    draw(folder, "index/a/b/c/abc1.jpg", "test/1/2/3/1234.jpg", "test/4/5/6/4567.jpg")
    write(folder / "retrieval_solution_v2.1.csv", "id,images,Usage\n1234,abc1,Public\n4567,abc1,Private\n")
    return Expected(("any",), (1, 1, 1))


def copydays(root: Path) -> Expected:
    draw(root / "copydays", "original/200000.jpg", "original/200100.jpg", "strong/200101.jpg")
    return Expected(("any",), (2, 0, 1))


def split_folders(info: DatasetInfo) -> Callable[[Path], Expected]:
    """Class folders below the split folders that the row names."""

    def write_folders(root: Path) -> Expected:
        names = tuple(f"class_{i:05d}" for i in range(info.num_classes or 2))
        counts = TRAIN_VAL_TEST if "val" in info.splits else TRAIN_TEST
        for split, label, image in members(len(names), counts):
            draw(root / info.source.location / info.splits[split], f"{names[label]}/{image}.png")
        return expected(names, *((3, 2, 2) if "val" in info.splits else (4, 1, 2)))

    return write_folders


def built_in(class_names: tuple[str, ...], *sizes: int) -> Callable[[Path], Expected]:
    """A dataset without files: the real one."""
    return lambda root: Expected(class_names, sizes)


DIGITS = tuple("0123456789")
INDIVIDUALS = tuple(f"{CLASS_NAMES[i % 10]}_{i:02d}" for i in range(NUM_IDENTITIES))
COPIES: Mapping[str, Callable[[Path], Expected]] = {
    "digits": built_in(DIGITS, 1151, 287, 359),
    "digits_10shot": built_in(DIGITS, 80, 20, 359),
    "shapes": built_in(CLASS_NAMES, 2000, 500, 1000),
    "shapes_individuals": built_in(INDIVIDUALS, 2000, 500, 1000),
    "cifar10": cifar10,
    "cifar100": cifar100,
    "flowers102": flowers102,
    "aircraft": aircraft,
    "eurosat": eurosat,
    "dtd": dtd,
    "pets": pets,
    "food101": food101,
    "svhn": svhn,
    "stl10": stl10,
    "cub200": class_folders("cub200/images", 200, 200),
    "inaturalist": class_folders("inaturalist/val", 10_000, 20),
    "objectnet": class_folders("objectnet/images", 313, 313),
    "instre": class_folders("instre/INSTRE-S1", 100, 100),
    "google_landmarks_v2": landmarks,
    "copydays": copydays,
    **{
        f"{name}{suffix}": revisited(name, suffix)
        for name in ("roxford5k", "rparis6k")
        for suffix in ("", "_easy", "_medium", "_hard", "_medium_1m", "_hard_1m", "_tuned")
    },
    **{
        row.name: split_folders(row)
        for row in DATASETS.values()
        if isinstance(row.source, FolderSource) and row.queries is None
    },
}
"""Row of the catalogue → writes a copy of it below a data folder and says what loading must give."""
