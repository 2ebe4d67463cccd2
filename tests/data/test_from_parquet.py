import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raybench.catalog.dataset_sources import ParquetSource
from raybench.catalog.datasets import DatasetInfo
from raybench.core.errors import DataError, UnreadableImageError
from raybench.data.loading import load_dataset, read_source

CIFAR10 = Path(__file__).parents[3] / "shared/data/datasets/cifar10_full.parquet"


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, n=40, **columns):
    table = {
        "image": [png(i) for i in range(n)],
        "label": [i % 2 for i in range(n)],
        "split": ["test" if i % 4 > 1 else "train" for i in range(n)],
        **columns,
    }
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), path, row_group_size=7)
    return DatasetInfo(name="p", source=ParquetSource(str(path)))


def test_splits_are_read_across_row_groups(tmp_path):
    source = read_source(write(tmp_path / "d.parquet"))
    test = source.splits["test"]
    assert test.ids[:3] == ["0000002", "0000003", "0000006"]
    assert [int(test.read(i)[0, 0, 0]) for i in (19, 0, 9, 2)] == [39, 2, 19, 6]
    assert test.targets[:4].tolist() == [0, 1, 0, 1]


def test_without_a_split_column_splits_are_carved(tmp_path):
    dataset = load_dataset(write(tmp_path / "d.parquet", split=None))
    assert [dataset.num_examples(name) for name in ("train", "val", "test")] == [26, 6, 8]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["b", "a"] * 20, None, ("a", "b")),
        ([10, 2] * 20, None, ("2", "10")),
        ([1, 0] * 20, ["dog", "cat"] * 20, ("cat", "dog")),
    ],
    ids=["names", "numbers", "numbers with names"],
)
def test_class_names_come_from_the_labels_or_the_class_name_column(tmp_path, labels, names, expected):
    assert read_source(write(tmp_path / "d.parquet", label=labels, class_name=names)).class_names == expected


def test_hugging_faces_image_struct_is_read(tmp_path):
    images = [{"bytes": png(i), "path": None} for i in range(40)]
    assert read_source(write(tmp_path / "d.parquet", image=images)).splits["train"].read(1)[0, 0, 0] == 1


def test_a_broken_image_is_named_by_file_and_row(tmp_path):
    images = [png(i) if i != 5 else b"broken" for i in range(40)]
    with pytest.raises(UnreadableImageError, match=r"d\.parquet', row 5"):
        load_dataset(write(tmp_path / "d.parquet", image=images))


def test_a_missing_image_is_named_by_file_and_row(tmp_path):
    images = [png(i) if i != 5 else None for i in range(40)]
    with pytest.raises(UnreadableImageError, match=r"row 5 holds no image but None"):
        load_dataset(write(tmp_path / "d.parquet", image=images))


def test_a_missing_column_is_refused_with_those_there_are(tmp_path):
    info = write(tmp_path / "d.parquet", image=None, jpeg=[png(0)] * 40)
    with pytest.raises(DataError, match=r"no image column 'image', only label, split, jpeg; .*image_column"):
        read_source(info)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone\.parquet' is not a file"):
        read_source(DatasetInfo(name="p", source=ParquetSource(str(tmp_path / "gone.parquet"))))


def test_a_file_that_is_not_parquet_is_refused(tmp_path):
    (tmp_path / "d.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_source(DatasetInfo(name="p", source=ParquetSource(str(tmp_path / "d.parquet"))))


@pytest.mark.skipif(not CIFAR10.is_file(), reason="needs ../shared/data/datasets/cifar10_full.parquet")
def test_real_cifar10_has_its_splits_and_classes():
    source = read_source(DatasetInfo(name="c", source=ParquetSource(str(CIFAR10), image_column="jpeg")))
    assert np.bincount(source.splits["train"].targets).tolist() == [5000] * 10
    assert np.bincount(source.splits["test"].targets).tolist() == [1000] * 10
    assert source.class_names[:2] == ("airplane", "automobile")
    assert source.splits["test"].read(77).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [-1] * 40}, "row 0 has the label -1, which stands for a hidden one"),
        ({"label": [None, *([0, 1] * 19), 0]}, "row 0 has no label"),
        ({"label": ["a", " ", *(["a"] * 38)]}, "row 1 has no label"),
        ({"label": [float("nan"), *([0.0, 1.0] * 19), 0.0]}, r"row 0 has no label \(nan\)"),
        ({"label": [[0, 1]] * 40}, "row 0 has several labels or none"),
        ({"split": [None] * 40}, "row 0 has no split; fill column 'split' in every row"),
        ({"class_name": ["cat", "dog", "owl", "dog"] * 10}, r"label 0 is named 'cat' and, in row 2, 'owl'"),
        ({"label": ["caf\u00e9", "cafe\u0301"] * 20}, r"look alike .*NFC or NFD"),
        ({"label": ["cat", "cat "] * 20}, "look alike"),
    ],
)
def test_labels_and_splits_that_mean_nothing_or_two_things_are_refused(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        read_source(write(tmp_path / "d.parquet", **columns))


def test_hidden_labels_of_a_split_that_is_not_used_do_no_harm(tmp_path):
    splits = ["train", "train", "val", "test"] * 10
    labels = [-1 if split == "test" else i % 2 for i, split in enumerate(splits)]
    labels = [
        label if split != "val" else (i // 4) % 2
        for i, (label, split) in enumerate(zip(labels, splits, strict=True))
    ]
    info = write(tmp_path / "d.parquet", label=labels, split=splits)
    with pytest.raises(DataError, match="row 3 has the label -1"):
        read_source(info)
    source = read_source(replace(info, splits={"train": "train", "test": "val"}))
    assert source.class_names == ("0", "1")
    assert source.notes == ("split test is not read.",)


def test_two_labels_of_one_name_stay_two_classes(tmp_path):
    info = write(tmp_path / "d.parquet", class_name=["crane"] * 40)
    assert read_source(info).class_names == ("crane (0)", "crane (1)")


def test_splits_are_spelt_in_any_case(tmp_path):
    info = write(tmp_path / "d.parquet", split=["Train", "Train", "TEST", "TEST"] * 10)
    assert set(read_source(info).splits) == {"train", "test"}


def test_numbers_as_splits_are_named_in_the_refusal(tmp_path):
    with pytest.raises(DataError, match="has no train split; it has: 0, 1"):
        read_source(write(tmp_path / "d.parquet", split=[0, 1] * 20))
