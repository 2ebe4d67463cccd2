"""Rows of the catalogue, and datasets named by their source."""

from pathlib import Path

import pytest

from raybench.catalog.dataset_sources import (
    FolderSource,
    FunctionSource,
    HuggingFaceSource,
    ParquetSource,
    TorchvisionSource,
)
from raybench.catalog.datasets import DATASETS, find_dataset
from raybench.core.errors import UnknownNameError


@pytest.mark.parametrize("name", DATASETS)
def test_every_row_has_a_train_split_and_a_citation(name):
    info = DATASETS[name]
    assert info.name == name
    assert "train" in info.splits
    assert info.citation


def test_digits_need_no_download():
    assert find_dataset("digits").source == FunctionSource("digits")


def test_few_shot_digits_differ_in_their_cap_only():
    assert find_dataset("digits_10shot").examples_per_class == 10
    assert find_dataset("digits").examples_per_class is None


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("torchvision:Caltech101", TorchvisionSource("Caltech101")),
        ("hf:uoft-cs/cifar10", HuggingFaceSource("uoft-cs/cifar10")),
        ("parquet:images.parquet", ParquetSource("/data/images.parquet")),
        ("folder:photos", FolderSource("/data/photos")),
        ("folder:/elsewhere/photos", FolderSource("/elsewhere/photos")),
    ],
)
def test_a_source_can_be_named_without_a_row_and_paths_become_absolute(name, source):
    info = find_dataset(name, Path("/data"))
    assert (info.name, info.source) == (name, source)


def test_a_torchvision_class_with_a_row_has_the_rows_splits():
    assert find_dataset("torchvision:OxfordIIITPet").splits == {"train": "trainval", "test": "test"}


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="unknown dataset 'cifar11'; did you mean 'cifar1"):
        find_dataset("cifar11")


def test_an_unknown_prefix_is_refused_with_the_known_ones():
    with pytest.raises(
        UnknownNameError, match=r"unknown dataset 'foldr:x'; did you mean 'folder'.* 'folder:PATH'"
    ):
        find_dataset("foldr:x")
