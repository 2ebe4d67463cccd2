"""What `plan` and `run` print of every dataset, and what they refuse before anything starts."""

import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from raybench.core.errors import DataError
from raybench.experiment.dataset_check import check_images, describe_datasets
from raybench.features.process_cache import cached_dataset
from raybench.spec import load_spec


def draw(root, **counts):
    """Images of noise; keys are folders with `__` for `/`."""
    rng = np.random.default_rng(0)
    for folder, count in counts.items():
        target = root / folder.replace("__", "/")
        target.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(target / f"{i}.png")


@pytest.fixture
def told(tmp_path):
    """Text about the datasets of a spec, one line for each dataset and note."""

    def _told(tasks, datasets="{}", **lines):
        more = "".join(f"{key}: {value}\n" for key, value in lines.items())
        text = f"name: s\nbackbones: [mini_vit.random]\ntasks: {tasks}\ndatasets: {datasets}\n{more}"
        (tmp_path / "s.yaml").write_text(text)
        described = describe_datasets(load_spec(tmp_path / "s.yaml"))
        return described.replace("\n" + 16 * " ", " ").splitlines()

    return _told


def test_classes_images_and_origin_of_every_split_are_told(told, tmp_path):
    draw(tmp_path, photos__train__cat=10, photos__train__dog=10, photos__val__cat=3, photos__val__dog=2)
    lines = told("[knn@own]", "{own: {folder: photos, val_fraction: 0.1}}")
    assert lines == [
        "dataset         own: 2 classes; train 18 images: folder train/ without val; val 2 images: 10 % of "
        "folder train/, carved; test 5 images: folder val/ (published evaluation split).",
        "note            dataset 'own': test is the source's validation split, because it has no test split "
        "with labels; val is carved from train, so that no choice is made on test.",
    ]


def test_an_undivided_dataset_is_told_with_its_carved_test(told):
    first, note = told("[knn@digits]")
    assert first.endswith(
        "10 classes; train 1,151 images: all images without test and val; val 287 images: 20 % of all images "
        "after test, carved; test 359 images: 20 % of all images, carved."
    )
    assert "test is carved from train, because the source is not divided" in note


def test_few_shots_are_told(told):
    assert "at most 10 of a class together with val" in told("[knn@digits_10shot]")[0]


def test_datasets_that_are_not_here_are_told_by_their_rows_and_not_downloaded(told, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYBENCH_DATA", str(tmp_path / "data"))
    cifar, hub = told("[knn@cifar10, knn@own]", "{own: {huggingface: org/name}}")
    assert cifar.endswith(
        "10 classes; train: split 'train' without val; val: 20 % of split 'train', carved; test: split "
        "'test' (published evaluation split)."
    )
    assert hub.endswith("own: not here yet; its splits are told when `run` has downloaded it.")
    assert not (tmp_path / "data").exists()


def test_datasets_of_evaluators_are_told_too(told, tmp_path):
    draw(tmp_path, other__Test__a=3, other__Test__b=3)
    lines = told(
        "[knn@digits]", "{own: {folder: other, test_only: true}}", evaluators="[{ood: {near: [own]}}]"
    )
    assert (
        "dataset         own: 2 classes; test 6 images: folder Test/ (published evaluation split)." in lines
    )
    assert any(line.startswith("dataset         shapes: 10 classes; train 2,000 images") for line in lines)


def test_all_datasets_that_cannot_be_read_are_refused_at_once(told, tmp_path):
    draw(tmp_path, lone__cat=5, lone__dog=1)
    draw(tmp_path, empty__train__cat=5, empty__train__dog=5, empty__test__cat=5, empty__test__owl=5)
    with pytest.raises(DataError) as caught:
        told("[knn@lone, knn@empty]", "{lone: {folder: lone}, empty: {folder: empty}}")
    first, second = str(caught.value).splitlines()
    assert "'lone': class 'dog' has a single example" in first
    assert "'empty'" in second
    assert "class 'owl' has no image in its train split" in second


@pytest.mark.parametrize("tree", [{"photos__train__train__cat": 9, "photos__train__train__dog": 9}])
def test_a_single_class_is_refused_for_classifiers(told, tmp_path, tree):
    draw(tmp_path, **tree)
    with pytest.raises(
        DataError, match="has a single class, 'train', and a classifier needs two; is its path"
    ):
        told("[knn@own]", "{own: {folder: photos}}")


def test_duplicates_and_unreadable_images_are_noted_once_and_trials_find_their_hashes(tmp_path, monkeypatch):
    draw(tmp_path, own__train__a=6, own__train__b=6, own__test__a=2, own__test__b=2, bad__a=5, bad__b=5)
    shutil.copy(tmp_path / "own/test/a/0.png", tmp_path / "own/train/a/copy.png")
    (tmp_path / "own/train/b/0.png").write_bytes(b"broken")
    (tmp_path / "bad/a/0.png").write_bytes(b"broken")
    (tmp_path / "s.yaml").write_text(
        "name: s\nbackbones: [mini_vit.random]\ntasks: [knn@own, linear_probe@own, knn@bad, knn@digits]\n"
        "datasets: {own: {folder: own, unreadable: skip}, bad: {folder: bad}}\n"
    )
    spec, notes = load_spec(tmp_path / "s.yaml"), []
    left_out = check_images(spec, tmp_path / "storage", notes.append).left_out
    assert left_out == [
        "own: 1 images dropped: a later split holds the same pixels.",
        "own: 1 unreadable images were skipped, as the spec allows.",
    ]
    assert notes[:2] == left_out
    assert len(notes) == 3
    assert notes[2].startswith("trials on dataset 'bad' will fail: cannot read the image")

    monkeypatch.setattr("raybench.data.hygiene.pixel_hash", None)  # Nothing is left to hash.
    cached_dataset(spec.datasets["own"], tmp_path / "storage")


def test_a_dataset_is_told_once_it_is_downloaded(tmp_path, monkeypatch):
    def read_hub(location, revision):
        splits = {}
        for split, count in (("train", 20), ("validation", 4)):
            images = [Image.fromarray(np.full((4, 4, 3), count + i, np.uint8)) for i in range(count)]
            features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
            content = {"image": images, "label": [i % 2 for i in range(count)]}
            splits[split] = datasets.Dataset.from_dict(content, features=features)
        return splits

    monkeypatch.setattr(datasets, "load_dataset", read_hub)
    (tmp_path / "s.yaml").write_text(
        "name: s\nbackbones: [mini_vit.random]\ntasks: [knn@own]\ndatasets: {own: {huggingface: org/name}}\n"
    )
    notes: list[str] = []
    check_images(load_spec(tmp_path / "s.yaml"), tmp_path / "storage", notes.append)
    assert notes[0] == (
        "dataset 'own' is downloaded: 2 classes; train 16 images: split 'train' without val; val 4 images: "
        "20 % of split 'train', carved; test 4 images: split 'validation' (published evaluation split)."
    )
    assert "test is the source's validation split" in notes[1]
