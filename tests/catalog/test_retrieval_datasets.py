"""The retrieval rows: which images are queries, and which are positives of which query."""

from dataclasses import replace

import pytest

from raybench.catalog.dataset_info import in_data_folder
from raybench.catalog.datasets import DATASETS
from raybench.catalog.published import published
from raybench.catalog.retrieval_datasets import PAPER_ROWS, RETRIEVAL_ROWS
from raybench.data.loading import load_dataset
from tests.contracts.dataset_files import COPIES, draw

BY_CLASS = {
    "cub200": "cub200/images",
    "inaturalist": "inaturalist/val",
    "objectnet": "objectnet/images",
    "instre": "instre/INSTRE-S1",
}


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYBENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def load_copy(data):
    """Load a row from a small copy of its dataset, with test open."""

    def _load(name):
        COPIES[name](data)
        return load_dataset(in_data_folder(DATASETS[name])).unlocked()

    return _load


def positives_of(dataset, split="test"):
    """Query → its positives, by id."""
    truth = dataset.gallery(split).truth
    ids = dataset.split(split).ids
    return {ids[q]: [dataset.train.ids[i] for i in truth.positives(q)] for q in range(len(ids))}


def test_the_papers_eight_datasets_are_rows():
    assert len(PAPER_ROWS) == len({score.task for score in published("bob").scores}) == 8
    shares = {row.name: row.queries.shares for row in PAPER_ROWS}
    assert (shares["cub200"], shares["roxford5k"]) == ("category", "instance")


@pytest.mark.parametrize("row", RETRIEVAL_ROWS, ids=lambda row: row.name)
def test_a_row_states_its_queries_and_how_to_get_it(row):
    assert DATASETS[row.name] is row
    assert row.queries is not None
    assert row.queries.divides
    assert row.steps.endswith(".")
    assert "://" not in row.steps  # Hosts come and go, and raybench downloads from none of them.


@pytest.mark.parametrize("name", BY_CLASS)
def test_the_first_fifth_of_a_class_are_queries(data, name):
    draw(data, *(f"{BY_CLASS[name]}/{label}/{i:03d}.png" for label in ("a", "b") for i in range(60)))
    info = replace(in_data_folder(DATASETS[name]), num_classes=None)
    dataset = load_dataset(info).unlocked()
    per_class = {"cub200": 60, "inaturalist": 5, "objectnet": 50, "instre": 50}[name]
    assert dataset.test.ids == [f"{label}/{i:03d}.png" for label in "ab" for i in range(per_class // 5)]
    assert len(dataset.train) + len(dataset.val) == 2 * (per_class - per_class // 5)
    assert dataset.gallery("test").splits == ("train", "val")


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
@pytest.mark.parametrize("suffix", ["", "_easy", "_medium", "_hard", "_medium_1m", "_hard_1m", "_tuned"])
def test_oxford_and_paris_have_the_positives_of_their_difficulty(load_copy, name, suffix):
    dataset = load_copy(f"{name}{suffix}")
    souls = {"_easy": [0], "_hard": [1], "_hard_1m": [1]}.get(suffix, [0, 1])
    positives = {**(positives_of(dataset, "val") if suffix == "_tuned" else {}), **positives_of(dataset)}
    assert len(positives) == 2
    assert positives["jpg/all_souls_0.jpg"] == [dataset.train.ids[i] for i in souls]
    assert (dataset.distractors is not None) == suffix.endswith("_1m")
    assert dataset.test.image(0).shape == ((4, 4, 3) if suffix else (8, 8, 3))


def test_public_landmark_queries_are_vals_and_private_ones_tests(load_copy):
    dataset = load_copy("google_landmarks_v2")
    assert positives_of(dataset, "val") == {"test/1/2/3/1234.jpg": ["index/a/b/c/abc1.jpg"]}
    assert positives_of(dataset) == {"test/4/5/6/4567.jpg": ["index/a/b/c/abc1.jpg"]}


def test_the_positive_of_a_copy_is_its_original(load_copy):
    assert positives_of(load_copy("copydays")) == {"strong/200101.jpg": ["original/200100.jpg"]}
