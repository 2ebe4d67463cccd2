"""The paper's retrieval datasets as rows: each one's reader on a tiny folder of the same layout."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from raybench.catalog.dataset_info import in_data_folder
from raybench.catalog.datasets import DATASETS
from raybench.catalog.published import published
from raybench.catalog.retrieval import PAPER_DATASETS
from raybench.catalog.retrieval_datasets import PAPER_ROWS, RETRIEVAL_ROWS
from raybench.data.loading import load_dataset

OXFORD = {
    "imlist": ["all_souls_1", "all_souls_2", "bodleian_1", "bodleian_2"],
    "qimlist": ["all_souls_0", "bodleian_0"],
    "gnd": [
        {"easy": [0], "hard": [1], "junk": [], "bbx": [1.0, 1.0, 5.0, 5.0]},
        {"easy": [2], "hard": [], "junk": [3], "bbx": [1.0, 1.0, 5.0, 5.0]},
    ],
}
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


def draw(data, *paths):
    for path in paths:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(list(path.encode())).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / path)


def load(name):
    """The row's dataset from the data folder, whose tiny copy has fewer classes."""
    return load_dataset(replace(in_data_folder(DATASETS[name]), num_classes=None)).unlocked()


def found_by(dataset, split="test"):
    """Query → the gallery images listed for it, by id."""
    truth = dataset.gallery(split).truth
    ids = dataset.split(split).ids
    return {ids[q]: [dataset.train.ids[i] for i in truth.positives(q)] for q in range(len(ids))}


def test_the_papers_eight_are_rows_and_as_many_as_its_table_has():
    assert len(PAPER_ROWS) == len({score.task for score in published("bob").scores}) == 8
    assert PAPER_DATASETS["cub200"] == "category"
    assert PAPER_DATASETS["roxford5k"] == "instance"


@pytest.mark.parametrize("row", RETRIEVAL_ROWS, ids=lambda row: row.name)
def test_a_row_says_how_it_asks_and_how_to_get_it(row):
    assert DATASETS[row.name] is row
    assert row.queries is not None
    assert row.queries.divides
    assert row.steps.endswith(".")
    assert "://" not in row.steps  # Hosts come and go, and raybench fetches from none.


@pytest.mark.parametrize("name", BY_CLASS)
def test_sets_by_class_ask_with_the_first_fifth_of_a_class(data, name):
    draw(data, *(f"{BY_CLASS[name]}/{label}/{i:03d}.jpg" for label in ("a", "b") for i in range(60)))
    (data / BY_CLASS[name] / "a/boxes.txt").touch()  # As INSTRE has them between its images.
    dataset = load(name)
    per_class = {"cub200": 60, "inaturalist": 5, "objectnet": 50, "instre": 50}[name]
    assert dataset.test.ids == [f"{label}/{i:03d}.jpg" for label in "ab" for i in range(per_class // 5)]
    assert len(dataset.train) + len(dataset.val) == 2 * (per_class - per_class // 5)
    assert dataset.gallery("test").splits == ("train", "val")


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
@pytest.mark.parametrize("suffix", ["", "_easy", "_medium", "_hard", "_medium_1m", "_hard_1m", "_tuned"])
def test_oxford_and_paris_ask_as_the_row_says(data, name, suffix):
    # Paris's images come in a folder for each landmark, and are found there.
    draw(data, *(f"{name}/jpg/{image.split('_')[0]}/{image}.jpg" for image in OXFORD["imlist"]))
    draw(data, *(f"{name}/jpg/{image}.jpg" for image in OXFORD["qimlist"]))
    draw(data, "revisitop1m/a1/noise.jpg")
    (data / name / "gnd.json").write_text(json.dumps(OXFORD))
    dataset = load(f"{name}{suffix}")
    souls = {"_easy": [0], "_hard": [1], "_hard_1m": [1]}.get(suffix, [0, 1])
    asked = {**(found_by(dataset, "val") if suffix == "_tuned" else {}), **found_by(dataset)}
    assert len(asked) == 2
    assert asked["jpg/all_souls_0.jpg"] == [dataset.train.ids[i] for i in souls]
    assert len(dataset.val) == (1 if suffix == "_tuned" else 0)
    assert (dataset.distractors is not None) == suffix.endswith("_1m")
    assert dataset.test.image(0).shape == ((4, 4, 3) if suffix else (8, 8, 3))


def test_landmarks_choose_by_public_queries(data):
    root = "google_landmarks_v2"
    draw(data, f"{root}/index/a/b/c/abc1.jpg", f"{root}/test/1/2/3/1234.jpg", f"{root}/test/4/5/6/4567.jpg")
    solution = "id,images,Usage\n1234,abc1,Public\n4567,abc1,Private\n"
    (data / root / "retrieval_solution_v2.1.csv").write_text(solution)
    dataset = load(root)
    assert found_by(dataset, "val") == {"test/1/2/3/1234.jpg": ["index/a/b/c/abc1.jpg"]}
    assert found_by(dataset) == {"test/4/5/6/4567.jpg": ["index/a/b/c/abc1.jpg"]}


def test_copies_ask_for_their_original(data):
    draw(data, "copydays/original/200000.jpg", "copydays/original/200100.jpg", "copydays/strong/200101.jpg")
    assert found_by(load("copydays")) == {"strong/200101.jpg": ["original/200100.jpg"]}
