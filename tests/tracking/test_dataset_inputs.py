"""Datasets of runs: sources that MLflow itself reads back."""

import pytest

from raybench.tracking.dataset_inputs import MAX_DIGEST, DatasetInput, dataset_inputs


def one(row, fingerprint="f1") -> DatasetInput:
    (only,) = dataset_inputs("mine", row, fingerprint, ["test"])
    return only


def read_by_mlflow(logged: DatasetInput) -> tuple[str, dict]:
    """(Class of the source, its content), as `mlflow.data.get_source` reads it."""
    import mlflow.data
    from mlflow.entities import Dataset

    entity = Dataset(logged.name, logged.digest, logged.source_type, logged.source)
    source = mlflow.data.get_source(entity)
    return type(source).__name__, source.to_dict()


@pytest.mark.parametrize(
    ("source", "kind", "content"),
    [
        ({"kind": "folder", "location": "/data/cats"}, "LocalArtifactDatasetSource", {"uri": "/data/cats"}),
        ({"kind": "parquet", "location": "/x.parquet"}, "LocalArtifactDatasetSource", {"uri": "/x.parquet"}),
        (
            {"kind": "huggingface", "location": "org/cats", "revision": "v1"},
            "HuggingFaceDatasetSource",
            {"path": "org/cats", "revision": "v1", "split": "validation"},
        ),
        (
            {"kind": "torchvision", "location": "CIFAR10"},
            "CodeDatasetSource",
            {"tags": {"raybench.reader": "torchvision:CIFAR10"}},
        ),
        (
            {"kind": "function", "location": "digits"},
            "CodeDatasetSource",
            {"tags": {"raybench.reader": "function:digits"}},
        ),
    ],
)
def test_mlflow_reads_every_kind_of_source(source, kind, content):
    met, read = read_by_mlflow(one({"source": source, "splits": {"test": "validation"}}))
    assert met == kind
    assert {key: read[key] for key in content} == content


def test_rows_of_earlier_versions_name_their_source_too():
    row = {"source": "folder", "location": "/data/cats"}
    assert read_by_mlflow(one(row)) == ("LocalArtifactDatasetSource", {"uri": "/data/cats"})


def test_a_dataset_without_a_row_has_a_source_that_mlflow_reads():
    assert read_by_mlflow(one({}))[0] == "CodeDatasetSource"


def test_digests_differ_between_splits_and_contents_and_are_short_enough():
    logged = dataset_inputs("mine", {}, "f" * 64, ["train", "val", "test"])
    assert [entry.context for entry in logged] == ["training", "validation", "testing"]
    digests = [entry.digest for entry in logged]
    assert len({*digests, one({}, "e" * 64).digest}) == 4
    assert max(map(len, digests)) <= MAX_DIGEST
