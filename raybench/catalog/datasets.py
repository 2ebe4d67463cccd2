"""Datasets by name: where their images come from and how splits are made of them.

Sizes, class counts and licences are the publishers'; "unknown" means no licence is stated by them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from raybench.catalog.dataset_info import DatasetInfo, Shift
from raybench.catalog.dataset_sources import (
    USER_SOURCES,
    FolderSource,
    FunctionSource,
    ParquetSource,
    TorchvisionSource,
    UserSource,
)
from raybench.catalog.folder_layout import folder_splits
from raybench.catalog.retrieval_datasets import RETRIEVAL_ROWS
from raybench.core.errors import UnknownNameError
from raybench.core.paths import expand_path
from raybench.core.records import Split
from raybench.core.registry import Registry, suggest

__all__ = ["DATASETS", "DatasetInfo", "Shift", "find_dataset"]

DATASETS: Registry[DatasetInfo] = Registry("dataset", DatasetInfo)
_PREFIXES = {**USER_SOURCES, "hf": USER_SOURCES["huggingface"]}
_UNDIVIDED: Mapping[Split, str] = {"train": "all"}
_TRAIN_TEST: Mapping[Split, str] = {"train": "train", "test": "test"}
_TRAINVAL_TEST: Mapping[Split, str] = {"train": "trainval", "test": "test"}
_TRAIN_VAL_TEST: Mapping[Split, str] = {"train": "train", "val": "val", "test": "test"}
_DIGITS = DatasetInfo(
    name="digits",
    source=FunctionSource("digits"),
    splits=_UNDIVIDED,
    num_classes=10,
    num_images=1797,
    licence="CC-BY-4.0",
    citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998",
)
_SHAPES = DatasetInfo(
    name="shapes",
    source=FunctionSource("shapes"),
    splits=_TRAIN_VAL_TEST,
    num_classes=10,
    num_images=3_500,
    licence="Apache-2.0",
    citation="drawn by raybench/data/shape_scenes.py",
)


def _torchvision(
    name: str, location: str, splits: Mapping[Split, str], num_classes: int, num_images: int, citation: str
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        source=TorchvisionSource(location),
        splits=splits,
        num_classes=num_classes,
        num_images=num_images,
        citation=citation,
    )


_CIFAR = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
for _info in (
    _DIGITS,
    replace(_DIGITS, name="digits_10shot", examples_per_class=10),
    _SHAPES,
    replace(
        _SHAPES,
        name="shapes_individuals",
        source=FunctionSource("shapes_individuals"),
        num_classes=80,
        citation=f"{_SHAPES.citation}; individuals met again, at other sizes and angles",
    ),
    _torchvision("cifar10", "CIFAR10", _TRAIN_TEST, 10, 60_000, _CIFAR),
    _torchvision("cifar100", "CIFAR100", _TRAIN_TEST, 100, 60_000, _CIFAR),
    _torchvision(
        "flowers102", "Flowers102", _TRAIN_VAL_TEST, 102, 8_189, "Nilsback and Zisserman, ICVGIP 2008"
    ),
    _torchvision("aircraft", "FGVCAircraft", _TRAIN_VAL_TEST, 100, 10_000, "Maji et al., arXiv 1306.5151"),
    # EuroSAT is published undivided; the split file of Goldblum et al. 2023 was never released.
    replace(
        _torchvision("eurosat", "EuroSAT", _UNDIVIDED, 10, 27_000, "Helber et al., JSTARS 2019"),
        licence="MIT",
    ),
    _torchvision("dtd", "DTD", _TRAIN_VAL_TEST, 47, 5_640, "Cimpoi et al., CVPR 2014"),
    replace(
        _torchvision("pets", "OxfordIIITPet", _TRAINVAL_TEST, 37, 7_349, "Parkhi et al., CVPR 2012"),
        licence="CC-BY-SA-4.0",
    ),
    _torchvision("food101", "Food101", _TRAIN_TEST, 101, 101_000, "Bossard et al., ECCV 2014"),
    _torchvision("svhn", "SVHN", _TRAIN_TEST, 10, 99_289, "Netzer et al., NIPS workshop 2011"),
    _torchvision("stl10", "STL10", _TRAIN_TEST, 10, 13_000, "Coates et al., AISTATS 2011"),
    *RETRIEVAL_ROWS,
):
    DATASETS.add(_info.name, _info)


def find_dataset(name: str, folder: Path = Path(), *, test_only: bool = False) -> DatasetInfo:
    """The row of that name, or one made of `folder:PATH`, `torchvision:CLASS`, `hf:ORG/NAME`, `parquet:FILE`.

    Args:
        folder: where relative paths start.
        test_only: whether the only split of a source without a row is test.

    Raises:
        UnknownNameError: if it is neither; the message suggests the nearest row.
        DataError: there can be no such path, or its subfolders leave open which of them are splits.

    >>> find_dataset("hf:uoft-cs/cifar10").source.kind
    'huggingface'
    """
    prefix, colon, location = name.partition(":")
    if not colon:
        return DATASETS[name]
    if prefix not in _PREFIXES or not location:
        hint = suggest(prefix, _PREFIXES)
        raise UnknownNameError(
            f"unknown dataset {name!r}{hint}; write a row's name (`raybench list datasets`), 'folder:PATH', "
            "'torchvision:CLASS', 'hf:ORG/NAME' or 'parquet:FILE'."
        )
    return dataset_of(name, _PREFIXES[prefix](location), folder, test_only=test_only)


def dataset_of(
    name: str,
    source: UserSource,
    folder: Path = Path(),
    *,
    splits: Mapping[Split, str] | None = None,
    test_only: bool = False,
) -> DatasetInfo:
    """A dataset without a row: its splits are found in its folder, or copied from a row of the same source.

    Args:
        folder: where relative paths start.
        splits: our split → the source's name for it; None: as just said.
        test_only: whether its only split is test.

    Raises:
        DataError: as `find_dataset`.
    """
    for row in DATASETS.values():
        if isinstance(source, TorchvisionSource) and row.source == source:
            return replace(row, name=name, splits=row.splits if splits is None else splits)
    if isinstance(source, FolderSource | ParquetSource):
        source = replace(source, location=str(expand_path(source.location, folder).resolve()))
    if splits is None:
        is_folder = isinstance(source, FolderSource)
        splits = folder_splits(Path(source.location), test_only=test_only) if is_folder else {}
    return DatasetInfo(name=name, source=source, splits=splits, test_only=test_only)
