import sys
from dataclasses import replace

import datasets
import numpy as np
import pytest
from PIL import Image

from raybench.catalog.dataset_sources import HuggingFaceSource
from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import DataError, UnreadableImageError
from raybench.data.loading import load_dataset, read_source
from raybench.data.source import MAY_DOWNLOAD, NotDownloadedError


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


def labelled(feature, labels):
    images = [Image.fromarray(np.full((4, 4, 3), i, np.uint8)) for i in range(len(labels))]
    features = datasets.Features(image=datasets.Image(), label=feature)
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


@pytest.mark.parametrize(
    ("test", "labels"),
    [
        (datasets.ClassLabel(names=["dog", "cat"]), [0, 1, 1]),
        (datasets.ClassLabel(names=["owl", "dog", "cat"]), [1, 2, 2]),
        (datasets.Value("string"), ["dog", "cat", "cat"]),
    ],
    ids=["other order", "more names", "texts"],
)
def test_classes_of_splits_are_matched_by_name(tmp_path, test, labels):
    info = saved(tmp_path, train=table(8), test=labelled(test, labels))
    source = read_source(info)
    assert source.class_names[:2] == ("cat", "dog")
    assert source.splits["train"].targets.tolist() == [0, 1] * 4
    assert source.splits["test"].targets.tolist() == [1, 0, 0]


def test_classes_keep_trains_order_whatever_the_order_of_the_mapping(tmp_path):
    info = saved(tmp_path, train=table(8), test=labelled(datasets.ClassLabel(names=["dog", "cat"]), [0, 1]))
    source = read_source(replace(info, splits={"test": "test", "train": "train"}))
    assert source.class_names == ("cat", "dog")
    assert source.splits["test"].targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("test", "labels", "message"),
    [
        (datasets.Value("int64"), [0, 1], r"labels are numbers \(0\) in one split and have names in another"),
        (datasets.ClassLabel(names=["cat", "dog"]), [-1, -1], r"split test: row 0 has the label -1.*hidden"),
        (datasets.ClassLabel(names=["cat", "dog"]), [0, None], r"split test: row 1 has no label \(None\)"),
        (datasets.List(datasets.Value("int64")), [[0, 1], []], r"row 0 has several labels or none, \[0, 1\]"),
        (datasets.Value("float64"), [0.5, 1.0], r"row 0 has the label 0\.5, .*fraction"),
    ],
    ids=["numbers", "hidden", "missing", "lists", "fractions"],
)
def test_labels_that_are_no_class_are_refused(tmp_path, test, labels, message):
    info = saved(tmp_path, train=table(8), test=labelled(test, labels))
    with pytest.raises(DataError, match=message):
        read_source(info)


def test_a_split_with_hidden_labels_can_be_left_out_for_validation(tmp_path):
    hidden = labelled(datasets.ClassLabel(names=["cat", "dog"]), [-1, -1])
    info = saved(tmp_path, train=table(8), validation=table(4, start=50), test=hidden)
    source = read_source(replace(info, splits={"train": "train", "test": "validation"}))
    assert {name: len(split.ids) for name, split in source.splits.items()} == {"train": 8, "test": 4}
    assert source.notes == ("split test is not read.",)


def test_train_and_validation_alone_are_train_and_test(tmp_path):
    dataset = load_dataset(saved(tmp_path, train=table(20), validation=table(6, start=100)))
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [16, 4, 6]
    assert dataset.source.origins["test"] == "split 'validation' (published evaluation split)"


def test_a_test_only_set_needs_no_train(tmp_path):
    info = replace(saved(tmp_path, test=table(6)), test_only=True)
    assert len(load_dataset(info).unlocked().test) == 6
    with pytest.raises(DataError, match=r"has no train split, only test; .*`test_only: true`"):
        load_dataset(replace(info, test_only=False))


def test_a_hub_dataset_is_not_downloaded_where_that_is_not_allowed():
    token = MAY_DOWNLOAD.set(False)
    try:
        with pytest.raises(NotDownloadedError):
            read_source(DatasetInfo(name="h", source=HuggingFaceSource("org/name")))
    finally:
        MAY_DOWNLOAD.reset(token)
