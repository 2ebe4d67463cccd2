"""Queries and galleries as published: the first images of a class, leave-one-out, and listed queries."""

import json

import numpy as np
import pytest
from PIL import Image

from raybench.catalog.dataset_info import DatasetInfo, Queries
from raybench.catalog.dataset_sources import FolderSource
from raybench.core.errors import DataError, SplitLockedError
from raybench.data.loading import load_dataset

FIRST = Queries(kind="first", max_per_class=10)


def info_of(folder, queries, **changes):
    return DatasetInfo(
        name="set", source=FolderSource(str(folder)), splits={"train": "all"}, queries=queries, **changes
    )


@pytest.fixture
def birds(tmp_path, draw_folder):
    return draw_folder(tmp_path, {"": {"jay": 12, "owl": 5, "wren": 4}})


def test_the_first_fifth_of_each_class_are_tests_queries(birds):
    dataset = load_dataset(info_of(birds, FIRST)).unlocked()
    # Sorted as text: 0, 1, 10, 11, 2 … of the jays only ten are taken. Four wrens are too few for a query.
    assert dataset.test.ids == ["jay/0.png", "jay/1.png", "owl/0.png"]
    gallery = {*dataset.train.ids, *dataset.val.ids}
    jays = ["jay/10.png", "jay/11.png", *(f"jay/{i}.png" for i in range(2, 8))]
    assert gallery == {*jays, *(f"owl/{i}.png" for i in range(1, 5)), *(f"wren/{i}.png" for i in range(4))}
    assert not {*dataset.train.ids} & {*dataset.val.ids}


def test_tests_gallery_is_train_and_val(birds):
    dataset = load_dataset(info_of(birds, FIRST))
    assert dataset.gallery("val").splits == ("train",)
    assert dataset.unlocked().gallery("test").splits == ("train", "val")
    with pytest.raises(SplitLockedError):
        dataset.gallery("test")


def test_val_has_a_fifth_of_every_class_with_two_images_left(birds):
    counts = np.bincount(load_dataset(info_of(birds, FIRST)).val.targets)
    assert counts.tolist() == [2, 1, 1]


def test_published_galleries_keep_their_duplicates(birds):
    (birds / "jay/0.png").replace(birds / "jay/keep.png")
    for name in ("0", "3"):
        (birds / f"jay/{name}.png").write_bytes((birds / "jay/keep.png").read_bytes())
    dataset = load_dataset(info_of(birds, FIRST)).unlocked()
    assert "jay/0.png" in dataset.test.ids
    assert "jay/3.png" in {*dataset.train.ids, *dataset.val.ids}
    assert dataset.hygiene.num_duplicates_across_splits == 0


def test_classes_that_are_all_too_small_are_refused(tmp_path, draw_folder):
    folder = draw_folder(tmp_path, {"": {"owl": 4}})
    with pytest.raises(DataError, match=r"no class has the 5 images that `fraction: 0.2` needs"):
        load_dataset(info_of(folder, FIRST))


def test_a_dataset_with_splits_is_not_divided_again(tmp_path, draw_folder):
    folder = draw_folder(tmp_path, {"train": {"owl": 5}, "test": {"owl": 5}})
    info = DatasetInfo(
        name="set",
        source=FolderSource(str(folder)),
        splits={"train": "train", "test": "test"},
        queries=FIRST,
    )
    with pytest.raises(DataError, match=r"has the splits train, test, but `queries: \{kind: first\}`"):
        load_dataset(info)


def test_leave_one_out_keeps_the_splits_and_makes_each_its_own_gallery(birds):
    plain, rest = (
        load_dataset(info_of(birds, queries)).unlocked() for queries in (None, Queries(kind="rest"))
    )
    assert rest.val.ids == plain.val.ids
    assert rest.gallery("test").splits == ("test",)
    assert rest.gallery("test").leave_one_out
    assert rest.fingerprint != plain.fingerprint
    assert rest.split_fingerprint("val") == plain.split_fingerprint("val")


def listed(folder, num_queries=6, num_gallery=12, gnd=None):
    """Two queries in a row share a positive: groups of two."""
    (folder / "jpg").mkdir(parents=True, exist_ok=True)
    gallery, queries = ([f"{n}{i}" for i in range(c)] for n, c in (("g", num_gallery), ("q", num_queries)))
    for i, name in enumerate([*gallery, *queries]):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"jpg/{name}.png")
    shared = [
        {"easy": [q // 2], "hard": [6 + q], "junk": [], "bbx": [2, 1, 6, 5]} for q in range(num_queries)
    ]
    content = {"imlist": gallery, "qimlist": queries, "gnd": gnd or shared}
    (folder / "gnd.json").write_text(json.dumps(content))
    return folder


def test_all_listed_queries_are_tests_if_val_fraction_is_0(tmp_path):
    info = info_of(listed(tmp_path), Queries(kind="listed"), val_fraction=0.0)
    dataset = load_dataset(info).unlocked()
    assert dataset.test.ids == [f"jpg/q{i}.png" for i in range(6)]
    assert len(dataset.val) == 0
    assert len(dataset.train) == 12
    truth = dataset.gallery("test").truth
    assert [truth.positives(query).tolist() for query in range(6)] == [[q // 2, 6 + q] for q in range(6)]


def test_vals_queries_share_no_listed_image_with_tests(tmp_path):
    info = info_of(listed(tmp_path), Queries(kind="listed"), val_fraction=0.3)
    dataset = load_dataset(info).unlocked()
    assert len(dataset.val) == 2  # 0.3 of 6, in whole groups.
    assert len(dataset.test) == 4
    listed_images = {
        split: {
            image
            for query in range(len(dataset.split(split)))
            for image in dataset.gallery(split).truth.positives(query).tolist()
        }
        for split in ("val", "test")
    }
    assert not listed_images["val"] & listed_images["test"]


def test_a_large_group_goes_to_val_only_where_it_fits(tmp_path):
    linked = [{"ok": [0]}] * 6 + [{"ok": [q]} for q in range(1, 5)]
    dataset = load_dataset(
        info_of(listed(tmp_path, num_queries=10, gnd=linked), Queries(kind="listed"), val_fraction=0.3)
    ).unlocked()
    assert len(dataset.val) == 3
    assert {f"jpg/q{i}.png" for i in range(6)} <= {*dataset.test.ids}


def test_val_gets_the_smallest_group_if_none_fits(tmp_path):
    linked = [{"ok": [0]}] * 5 + [{"ok": [1]}] * 3
    dataset = load_dataset(
        info_of(listed(tmp_path, num_queries=8, gnd=linked), Queries(kind="listed"), val_fraction=0.1)
    )
    assert sorted(dataset.val.ids) == ["jpg/q5.png", "jpg/q6.png", "jpg/q7.png"]


def test_queries_that_all_share_an_image_cannot_be_divided(tmp_path):
    folder = listed(tmp_path, gnd=[{"ok": [0]}] * 6)
    with pytest.raises(DataError, match=r"all 6 queries share positives, .* set `val_fraction: 0`"):
        load_dataset(info_of(folder, Queries(kind="listed")))


def test_difficulties_share_images_but_have_different_fingerprints(tmp_path):
    folder = listed(tmp_path)
    easy, hard = (
        load_dataset(info_of(folder, Queries(kind="listed", difficulty=name))).unlocked()
        for name in ("easy", "hard")
    )
    for split in ("train", "val", "test"):
        assert easy.split_fingerprint(split) == hard.split_fingerprint(split)
    assert easy.fingerprint != hard.fingerprint


def test_a_query_is_cropped_to_its_box_only_if_the_dataset_says_so(tmp_path):
    folder = listed(tmp_path)
    shapes = {}
    for crop in (False, True):
        info = info_of(folder, Queries(kind="listed", crop=crop), val_fraction=0.0)
        shapes[crop] = load_dataset(info).unlocked().test.image(0).shape
    assert shapes == {False: (6, 8, 3), True: (4, 4, 3)}


def test_a_box_outside_its_image_is_refused(tmp_path):
    folder = listed(tmp_path, num_queries=1, gnd=[{"ok": [1], "bbx": [20, 20, 30, 30]}])
    with pytest.raises(DataError, match=r"the box \[20.0, .* lies outside its image of 8 × 6 pixels"):
        load_dataset(info_of(folder, Queries(kind="listed", crop=True), val_fraction=0.0))


def test_the_ground_truth_stays_right_without_an_unreadable_gallery_image(tmp_path):
    folder = listed(tmp_path)
    (folder / "jpg/g3.png").write_bytes(b"no image")
    info = info_of(folder, Queries(kind="listed"), val_fraction=0.0, unreadable="skip")
    dataset = load_dataset(info).unlocked()
    truth = dataset.gallery("test").truth
    assert [dataset.train.ids[i] for i in truth.positives(0)] == ["jpg/g0.png", "jpg/g6.png"]
    assert dataset.hygiene.num_skipped == 1


def test_datasets_with_the_same_distractors_share_them(tmp_path, draw_folder):
    noise = draw_folder(tmp_path / "noise", {"": {"a": 3, "b": 2}}, seed=7)
    queries = Queries(kind="listed", distractors=str(noise))
    first, second = (load_dataset(info_of(listed(tmp_path / n), queries)) for n in ("one", "two"))
    assert first.distractors is not None
    assert len(first.distractors.train) == 5
    assert first.distractors.split_fingerprint("train") == second.distractors.split_fingerprint("train")
    without = load_dataset(info_of(tmp_path / "one", Queries(kind="listed")))
    assert first.fingerprint != without.fingerprint
    assert first.unlocked().distractors is first.distractors


def test_an_empty_folder_of_distractors_is_refused(tmp_path):
    queries = Queries(kind="listed", distractors=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no image in the folder of distractors '.*nowhere'"):
        load_dataset(info_of(listed(tmp_path), queries))
