"""Datasets that a spec defines, and the check of their files."""

import pytest

from raybench.catalog.dataset_sources import FolderSource, ParquetSource
from raybench.spec import load_spec

TASKS = "[knn@own]"


def make_folders(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)


def test_a_folder_is_relative_to_the_spec(write, tmp_path):
    make_folders(tmp_path, "photos/train/cat", "photos/val/cat")
    info = load_spec(write(tasks=TASKS, datasets="{own: {folder: photos, unreadable: skip}}")).datasets["own"]
    assert (info.source, info.unreadable) == (FolderSource(str(tmp_path / "photos")), "skip")
    assert info.splits == {"train": "train", "test": "val"}


def test_a_task_can_name_a_folder_directly(write, tmp_path):
    make_folders(tmp_path, "photos/cat")
    info = load_spec(write(tasks="['knn@folder:photos']")).datasets["folder:photos"]
    assert (info.source, info.splits) == (FolderSource(str(tmp_path / "photos")), {"train": "all"})


def test_a_parquet_file_keeps_its_columns(write, tmp_path):
    (tmp_path / "x.parquet").touch()
    entry = "{parquet: x.parquet, image_column: jpeg, splits: {train: train, test: test}}"
    info = load_spec(write(tasks=TASKS, datasets=f"{{own: {entry}}}")).datasets["own"]
    assert info.source == ParquetSource(str(tmp_path / "x.parquet"), image_column="jpeg")
    assert info.splits == {"train": "train", "test": "test"}


def test_a_few_shot_version_of_a_torchvision_dataset_has_the_rows_splits(write):
    entry = "{torchvision: OxfordIIITPet, examples_per_class: 5}"
    info = load_spec(write(tasks=TASKS, datasets=f"{{own: {entry}}}")).datasets["own"]
    assert (info.examples_per_class, info.num_classes) == (5, 37)
    assert info.splits == {"train": "trainval", "test": "test"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{folder: photso}", "': no such folder: '"),
        ("{folder: photso}", "; did you mean 'photos'?"),
        (
            "{folder: photos, splits: {train: trian}}",
            "has no folder 'trian' for train; did you mean 'train'?",
        ),
        (
            "{folder: photos, splits: {train: train, tset: x}}",
            "`datasets.own.splits.tset` must be one of train, val",
        ),
        ("{folder: photos/train/cat}", "has no class folders in it."),
        ("{folder: ''}", "no such folder"),
        ("{parquet: x.parquet}", "no such Parquet file"),
        ("{}", "needs exactly one of folder, torchvision, huggingface, parquet, got none."),
        (
            "{folder: photos, parquet: x}",
            "needs exactly one of folder, torchvision, huggingface, parquet, got folder",
        ),
        (
            "{folder: photos, unreadable: ignore}",
            "`datasets.own.unreadable` must be one of error, skip, got 'ignore'",
        ),
        ("{folder: photos, val_fraction: 1.5}", "`datasets.own.val_fraction` must be less than 1, got 1.5."),
        (
            "{folder: photos, examples_per_class: 1}",
            "`datasets.own.examples_per_class` must be at least 2, got 1.",
        ),
        ("{folder: photos, revision: v1}", "`revision` is no setting of a dataset with `folder`"),
        (
            "{torchvision: CIFAR10, label_column: fine}",
            "`label_column` is no setting of a dataset with `torchvision`; leave it out.",
        ),
        ("photos", "`datasets.own` must be a mapping of keys to values, got 'photos' (text)."),
    ],
)
def test_an_unreadable_dataset_is_refused_with_its_line(problems, tmp_path, entry, message):
    make_folders(tmp_path, "photos/train/cat", "photos/val/cat")
    reported = problems(tasks=TASKS, datasets=f"{{own: {entry}}}")
    assert any(problem.startswith("line 7: ") and message in problem for problem in reported)


def test_a_misspelt_dataset_of_the_spec_is_suggested(problems, tmp_path):
    make_folders(tmp_path, "photos/cat")
    reported = problems(tasks="[knn@imagenete]", datasets="{imagenette: {folder: photos}}")
    assert reported == ["line 3: unknown dataset 'imagenete'; did you mean 'imagenette'?"]


@pytest.mark.parametrize(
    ("name", "message"), [("digits", "is the catalogue's own"), ("'a b'", "must not contain")]
)
def test_a_dataset_name_that_is_taken_or_unusable_is_refused(problems, tmp_path, name, message):
    make_folders(tmp_path, "photos/cat")
    assert any(message in problem for problem in problems(datasets=f"{{{name}: {{folder: photos}}}}"))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["photos/train/cat", "photos/val/cat", "photos/test"], r"splits: {train: train, test: val}"),
        (["photos/test/cat"], "has the split test but none for train; name its folder with"),
        (["photos/Train/cat", "photos/train/cat"], "'Train' and 'train' may each be the train split"),
    ],
)
def test_folders_that_cannot_be_told_apart_are_refused_with_a_remedy(problems, tmp_path, folders, message):
    make_folders(tmp_path, *folders)
    for reported in (
        problems(tasks=TASKS, datasets="{own: {folder: photos}}"),
        problems(tasks="['knn@folder:photos']"),
    ):
        assert any(problem.startswith("line ") and message in problem for problem in reported)


def test_splits_that_are_stated_are_not_looked_for(write, tmp_path):
    make_folders(tmp_path, "photos/Train/cat", "photos/train/cat", "photos/test/cat")
    entry = "{own: {folder: photos, splits: {train: Train, test: test}}}"
    assert load_spec(write(tasks=TASKS, datasets=entry)).datasets["own"].splits == {
        "train": "Train",
        "test": "test",
    }


def test_a_folder_with_only_a_test_split_may_be_named_by_an_evaluator(write, tmp_path):
    make_folders(tmp_path, "far/Test/cat")
    spec = load_spec(write(evaluators="[{ood: {far: ['folder:far']}}]"))
    info = spec.datasets["folder:far"]
    assert (info.test_only, info.splits) == (True, {"test": "Test"})


def test_names_of_folders_mean_nothing_where_a_file_lists_the_queries(write, tmp_path):
    make_folders(tmp_path, "marks/test", "marks/index")
    (tmp_path / "marks" / "s.csv").touch()
    entry = "{own: {folder: marks, queries: {kind: listed, layout: landmarks, file: s.csv}}}"
    assert load_spec(write(tasks="[retrieval@own]", datasets=entry)).datasets["own"].splits == {
        "train": "all"
    }
