"""Splits that are computed in several shards, by one process, by several, and after an interruption."""

import numpy as np
import pytest
import torch
from drawn import COUNTS, is_stored, make_dataset

from raybench.backbones.feature_spec import FeatureSpec
from raybench.features import computation
from raybench.features.shards import ShardFiles, ShardRange, Share, entry_of, num_shards, shard_ranges
from raybench.features.store import FeatureStore

torch.set_num_threads(1)
BATCH = 2
SHARD = 4  # Train has 3 shards, val 2, test 2.
SHARES = [Share(i, 3) for i in range(3)]


@pytest.fixture
def whole(tmp_path, info, dataset):
    """Features of train and val, each computed in one pass in the same batches."""
    store = FeatureStore(tmp_path / "whole")
    return {split: store.get(info, dataset, split, batch_size=BATCH).features for split in ("train", "val")}


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features", images_per_shard=SHARD)


def compute(store, info, dataset, share, splits=("train", "val")):
    store.ensure(info, dataset, splits, batch_size=BATCH, share=share)


def folders(store):
    return sorted(path.name for path in store.root.iterdir() if path.is_dir())


def test_shards_of_one_process_give_the_bits_of_one_pass(store, info, dataset, whole):
    for split, features in whole.items():
        entry = store.get(info, dataset, split, batch_size=BATCH)
        assert entry.features.tobytes() == features.tobytes()
        assert entry.ids == dataset.split(split).ids


def test_shards_of_several_trials_in_any_order_give_the_bits_of_one_pass(store, info, dataset, whole):
    for share in reversed(SHARES):
        trial = FeatureStore(store.root, images_per_shard=SHARD)
        compute(trial, info, dataset, share)
        assert 0 < trial.num_forward_images < COUNTS["train"] + COUNTS["val"]
    for split, features in whole.items():
        assert is_stored(store, info, dataset, split)
        assert store.get(info, dataset, split).features.tobytes() == features.tobytes()
    assert store.num_forward_images == 0
    assert len(folders(store)) == 2  # The entries; their shards are removed.


def test_every_image_is_passed_once_in_all_shares_together(store, info, dataset):
    trials = [FeatureStore(store.root, images_per_shard=SHARD) for _ in SHARES]
    for trial, share in zip(trials, SHARES, strict=True):
        compute(trial, info, dataset, share)
    assert sum(trial.num_forward_images for trial in trials) == COUNTS["train"] + COUNTS["val"]


def test_no_entry_appears_before_its_last_shard(store, info, dataset):
    for share in SHARES[:2]:
        compute(store, info, dataset, share, ["train"])
    assert store.entries() == []
    compute(store, info, dataset, SHARES[2], ["train"])
    assert is_stored(store, info, dataset, "train")


def test_a_share_that_nobody_computed_is_computed_by_the_reader(store, info, dataset, whole):
    for share in SHARES[1:]:
        compute(store, info, dataset, share)
    before = store.num_forward_images
    assert store.get(info, dataset, "train", batch_size=BATCH).features.tobytes() == whole["train"].tobytes()
    assert store.num_forward_images - before == SHARD


def test_an_interrupted_pass_continues_with_the_shard_that_misses(store, info, dataset, whole, monkeypatch):
    extract, calls = computation.extract_features, []

    def fail_at_the_third(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return extract(*arguments, **options)

    monkeypatch.setattr(computation, "extract_features", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        store.get(info, dataset, "train", batch_size=BATCH)
    monkeypatch.setattr(computation, "extract_features", extract)
    resumed = FeatureStore(store.root, images_per_shard=SHARD)
    features = resumed.get(info, dataset, "train", batch_size=BATCH).features
    assert resumed.num_forward_images == COUNTS["train"] - 2 * SHARD
    assert features.tobytes() == whole["train"].tobytes()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_shard_is_computed_again(store, info, dataset, whole, damage):
    compute(store, info, dataset, SHARES[0], ["train"])
    (path,) = store.root.glob("*.shards/00000000-*.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"flipped": bytes(content), "cut": bytes(content[:-9]), "empty": b""}[damage])
    assert store.get(info, dataset, "train", batch_size=BATCH).features.tobytes() == whole["train"].tobytes()


def test_the_test_split_stays_locked_in_every_share(store, info, dataset):
    for share in SHARES:
        with pytest.raises(Exception, match="locked"):
            compute(store, info, dataset, share, ("test",))
    assert not store.root.exists()


def test_clearing_removes_shards_without_an_entry(store, info, dataset):
    compute(store, info, dataset, SHARES[0])
    assert store.size_bytes() > 0
    assert store.clear() > 0
    assert (folders(store), store.size_bytes()) == ([], 0)


def test_a_dataset_with_few_images_is_one_shard_and_leaves_no_trace_of_it(tmp_path, info, dataset):
    store = FeatureStore(tmp_path / "few")
    store.ensure(info, dataset, ["train"])
    assert folders(store) == [store.key(info, dataset, "train")]
    assert num_shards(make_dataset(), 32_768) == 1


def test_a_split_has_a_trial_per_shard_once_the_images_do_not_fit_into_one():
    assert num_shards(make_dataset(), 19) == 1  # 12 images in train, 7 in val.
    assert num_shards(make_dataset(), 18) == 2


def test_many_specs_at_once_are_computed_in_one_pass(store, info, dataset, monkeypatch):
    monkeypatch.setattr(computation, "MAX_SPECS", 1)
    specs = [FeatureSpec(), FeatureSpec(0, "max")]
    store.ensure(info, dataset, ["train"], batch_size=BATCH, specs=specs)
    assert store.num_forward_images == COUNTS["train"]
    assert all(is_stored(store, info, dataset, "train", spec) for spec in specs)
    assert len(folders(store)) == 2


@pytest.mark.parametrize(
    ("num_images", "images_per_shard", "batch_size", "expected"),
    [
        (0, 512, None, [(0, 0)]),
        (512, 512, None, [(0, 512)]),
        (513, 512, None, [(0, 512), (512, 513)]),
        (10, 4, 3, [(0, 3), (3, 6), (6, 9), (9, 10)]),
        (5, 2, 4, [(0, 4), (4, 5)]),
        (300, 1, None, [(0, 256), (256, 300)]),
    ],
)
def test_ranges_cover_the_split_and_begin_with_a_batch(num_images, images_per_shard, batch_size, expected):
    assert shard_ranges(num_images, images_per_shard, batch_size) == [ShardRange(*pair) for pair in expected]


def test_shares_divide_all_positions():
    assert sorted(i for share in SHARES for i in range(10) if share.holds(i)) == list(range(10))


def test_a_shard_of_another_length_is_not_taken(tmp_path):
    files = ShardFiles(tmp_path, "key")
    files.write(ShardRange(0, 4), np.zeros((3, 2), dtype=np.float32))
    assert files.read(ShardRange(0, 4)) is None


@pytest.mark.parametrize("folder", ["key", "key.partial", "key.shards"])
def test_folders_of_an_entry_have_its_key(folder):
    assert entry_of(folder) == "key"
