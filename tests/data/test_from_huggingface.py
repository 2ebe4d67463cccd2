import sys

import datasets
import numpy as np
import pytest
from PIL import Image

from raybench.catalog.dataset_sources import HuggingFaceSource
from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import DataError, UnreadableImageError
from raybench.data.loading import load_dataset, read_source


def table(n, start=0, label=None, names=("cat", "dog")):
    images = [Image.fromarray(np.full((4, 4, 3), start + i, np.uint8)) for i in range(n)]
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list(names)) if label is None else label
    )
    labels = [i % 2 for i in range(n)]
    if label is not None and label.dtype == "string":
        labels = [("owl", "bee")[value] for value in labels]
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def saved(tmp_path, **splits):
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    return DatasetInfo(name="h", source=HuggingFaceSource(str(tmp_path / "saved")))


def test_a_saved_dataset_is_read_with_splits_and_names(tmp_path):
    source = read_source(saved(tmp_path, train=table(20), test=table(6, start=100)))
    assert source.class_names == ("cat", "dog")
    assert source.splits["test"].targets.tolist() == [0, 1] * 3
    assert source.splits["test"].read(4)[0, 0].tolist() == [104] * 3


def test_a_folder_of_parquet_files_is_read_like_a_hub_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "org"
    folder.mkdir()
    table(20).to_parquet(str(folder / "train-00000.parquet"))
    table(6, start=100).to_parquet(str(folder / "test-00000.parquet"))
    dataset = load_dataset(DatasetInfo(name="h", source=HuggingFaceSource(str(folder))))
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [16, 4, 6]


@pytest.mark.parametrize(
    ("kind", "expected"), [("string", ("bee", "owl")), ("int64", ("0", "1"))], ids=["names", "numbers"]
)
def test_labels_without_class_names_are_sorted(tmp_path, kind, expected):
    info = saved(tmp_path, train=table(8, label=datasets.Value(kind)))
    source = read_source(info)
    assert source.class_names == expected
    assert source.splits["train"].targets[0] == (1 if kind == "string" else 0)


def test_other_column_names_are_settings_of_the_source(tmp_path):
    renamed = table(8).rename_columns({"image": "img", "label": "fine_label"})
    info = saved(tmp_path, train=renamed)
    with pytest.raises(DataError, match=r"no image column 'image', only .*img.*`image_column: NAME`"):
        read_source(info)
    described = DatasetInfo(
        name="h",
        source=HuggingFaceSource(info.source.location, image_column="img", label_column="fine_label"),
    )
    assert len(read_source(described).splits["train"].ids) == 8


def test_a_broken_image_is_named_by_row(tmp_path):
    broken = table(8).cast_column("image", datasets.Image(decode=False))
    rows = broken.to_dict()
    rows["image"][3]["bytes"] = b"broken"
    info = saved(tmp_path, train=datasets.Dataset.from_dict(rows, features=table(2).features))
    with pytest.raises(UnreadableImageError, match="train, row 3"):
        load_dataset(info)


def test_a_column_of_numbers_is_not_images(tmp_path):
    info = saved(tmp_path, train=table(8).add_column("size", [1] * 8))
    described = DatasetInfo(name="h", source=HuggingFaceSource(info.source.location, image_column="size"))
    with pytest.raises(DataError, match=r"holds Value.* not images"):
        read_source(described)


def test_a_failed_download_is_one_clear_sentence(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(
        DataError, match=r"'org/nothing' cannot be opened or downloaded \(ConnectionError: no route"
    ):
        read_source(DatasetInfo(name="h", source=HuggingFaceSource("org/nothing")))


def test_no_dataset_script_is_run(tmp_path):
    """The `datasets` library of version 4 dropped scripts; a folder with one must not execute it."""
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')")
    with pytest.raises(DataError, match="cannot be opened"):
        read_source(DatasetInfo(name="h", source=HuggingFaceSource(str(folder))))
    assert not (tmp_path / "was_here").exists()
    assert "evil" not in sys.modules
