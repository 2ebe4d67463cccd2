"""Dataset rows of spec.json: what is written is read again, and so are the flat rows of earlier versions."""

import json

import pytest

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import (
    FolderSource,
    FunctionSource,
    HuggingFaceSource,
    ParquetSource,
    TorchvisionSource,
)
from raybench.catalog.datasets import DATASETS
from raybench.spec import ExperimentSpec, diff, load_spec

FLAT = {
    "name": "own",
    "source": "parquet",
    "location": "/data/x.parquet",
    "splits": {"train": "all"},
    "val_fraction": 0.3,
    "examples_per_class": None,
    "num_classes": None,
    "num_images": None,
    "unreadable": "skip",
    "image_column": "jpeg",
    "label_column": "label",
    "revision": None,
    "test_only": False,
    "shifts": {},
    "queries": None,
    "steps": "",
    "licence": "unknown",
    "citation": "",
}
"""A row as raybench wrote it until a source became a record."""


@pytest.fixture
def restore(write):
    """Read a spec whose only dataset is the row given."""
    content = load_spec(write(tasks="[knn@digits]")).to_dict()

    def _restore(row):
        return ExperimentSpec.from_dict({**content, "datasets": {"digits": json.loads(json.dumps(row))}})

    return _restore


@pytest.mark.parametrize("row", DATASETS.values(), ids=DATASETS)
def test_every_row_of_the_catalogue_is_restored_equal(restore, row):
    spec = restore(row_as_json(restore, row))
    assert spec.datasets["digits"] == row


def row_as_json(restore, row):
    spec = restore(FLAT).model_copy(update={"datasets": {"digits": row}})
    return spec.to_dict()["datasets"]["digits"]


@pytest.mark.parametrize(
    ("kind", "location", "source"),
    [
        ("digits", "", FunctionSource("digits")),
        ("shapes", "", FunctionSource("shapes")),
        ("shapes", "individuals", FunctionSource("shapes_individuals")),
        ("folder", "/data/photos", FolderSource("/data/photos")),
        ("torchvision", "CIFAR10", TorchvisionSource("CIFAR10")),
        ("huggingface", "org/birds", HuggingFaceSource("org/birds", image_column="jpeg", revision="v1")),
        ("parquet", "/data/x.parquet", ParquetSource("/data/x.parquet", image_column="jpeg")),
    ],
)
def test_a_flat_row_of_an_earlier_version_is_read(restore, kind, location, source):
    row = {**FLAT, "source": kind, "location": location, "revision": "v1"}
    assert restore(row).datasets["digits"] == DatasetInfo(
        name="own", source=source, splits={"train": "all"}, val_fraction=0.3, unreadable="skip"
    )


def test_a_flat_row_equals_the_current_row(restore):
    digits = {**FLAT, "name": "digits", "source": "digits", "location": "", "val_fraction": 0.2}
    digits |= {"unreadable": "error", "num_classes": 10, "num_images": 1797}
    change = diff(restore(digits), restore(row_as_json(restore, DATASETS["digits"])))
    assert (change.extends, change.conflicts) == ([], [])


def test_a_source_of_no_known_kind_is_refused(restore):
    with pytest.raises(ValueError, match="source"):
        restore({**row_as_json(restore, DATASETS["digits"]), "source": {"kind": "ftp", "location": "x"}})
