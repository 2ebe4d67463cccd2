import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import is_stored, make_dataset

from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import checkpoint_digest
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbones import find_backbone
from raybench.core.errors import SplitLockedError, StorageError, StorageUnavailableError
from raybench.core.records import digest_of
from raybench.features.store import FeatureStore
from tests.processes import DEADLINE_SECONDS

torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


def test_features_come_with_the_targets_and_ids_of_their_examples(store, info, dataset):
    train = store.get(info, dataset, "train")
    assert train.features.shape == (12, 128)
    assert train.features.dtype == np.float32
    assert train.ids == dataset.train.ids
    assert train.targets.tolist() == dataset.train.targets.tolist()


def test_targets_that_are_no_classes_are_stored_as_they_are(store, info):
    labelled = make_dataset(annotation="labels")
    for _ in range(2):  # Written, then read.
        targets = store.get(info, labelled, "train").targets
        assert targets.dtype == bool
        np.testing.assert_array_equal(targets, labelled.train.targets)


def test_stored_features_need_no_forward_pass(store, info, dataset, monkeypatch):
    first = store.get(info, dataset, "val")
    second_run = FeatureStore(store.root)
    monkeypatch.setattr("raybench.features.store.load_at_scale", None)
    again = second_run.get(info, dataset, "val")
    assert (store.num_forward_images, second_run.num_forward_images) == (7, 0)
    np.testing.assert_array_equal(first.features, again.features)


def test_two_stores_compute_the_same_bits(tmp_path, info, dataset):
    one, other = (FeatureStore(tmp_path / name).get(info, dataset, "val").features for name in "ab")
    np.testing.assert_array_equal(one, other)


def test_features_are_memory_mapped_and_read_only(store, info, dataset):
    features = store.get(info, dataset, "val").features
    assert isinstance(features, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        features[0, 0] = 1.0


def test_the_test_split_stays_locked(store, info, dataset):
    with pytest.raises(SplitLockedError):
        store.get(info, dataset, "test")
    assert store.entries() == []
    assert len(store.get(info, dataset.unlocked(), "test").ids) == 5


def test_a_stored_test_split_stays_locked(store, info, dataset):
    store.get(info, dataset.unlocked(), "test")
    with pytest.raises(SplitLockedError):
        store.get(info, dataset, "test")


def test_the_backbone_is_loaded_once_for_several_splits(store, info, dataset, monkeypatch):
    from raybench.features import store as module

    loads = []
    load = module.load_at_scale
    monkeypatch.setattr(module, "load_at_scale", lambda *a, **k: loads.append(a) or load(*a, **k))
    store.ensure(info, dataset, ["train", "val"])
    store.ensure(info, dataset, ["train", "val"])
    assert len(loads) == 1


OTHERS = {
    "weights": lambda info: replace(info, init_seed=1),
    "mean": lambda info: replace(info, preprocessing={**info.preprocessing, "mean": (0.5, 0.5, 0.5)}),
    "crop": lambda info: replace(info, preprocessing={**info.preprocessing, "crop_pct": 0.9}),
    "architecture": lambda info: find_backbone("mini_vit.random"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_changes_the_features_changes_the_key(store, info, dataset, what):
    assert store.key(OTHERS[what](info), dataset, "val") != store.key(info, dataset, "val")


def test_other_images_and_other_splits_have_other_keys(store, info, dataset):
    keys = {store.key(info, d, s) for d in (dataset, make_dataset(seed=1)) for s in ("train", "val")}
    assert len(keys) == 4


def test_another_name_for_the_same_checkpoint_has_the_same_key(store, info, dataset):
    assert store.key(replace(info, name="alias"), dataset, "val") == store.key(info, dataset, "val")


def test_the_manifest_records_provenance_and_shape(store, info, dataset):
    store.get(info, dataset, "val")
    (entry,) = store.entries()
    assert entry.manifest["backbone"] == "mini_resnet.random"
    assert entry.manifest["preprocessing"]["mean"] == list(info.preprocessing["mean"])
    assert entry.manifest["shape"] == [7, 128]
    assert entry.size_bytes > 7 * 128 * 4


def test_size_and_clear(store, info, dataset):
    store.ensure(info, dataset, ["train", "val"])
    size = store.size_bytes()
    assert size >= sum(entry.size_bytes for entry in store.entries()) > 0
    assert store.clear() == size
    assert store.entries() == []
    assert not is_stored(store, info, dataset, "val")


def test_an_empty_store_has_size_zero(store):
    assert (store.entries(), store.size_bytes(), store.clear()) == ([], 0, 0)


@pytest.mark.parametrize("damage", ["cut features", "no manifest", "no ids", "garbled manifest"])
def test_a_damaged_entry_is_computed_again(store, info, dataset, damage):
    expected = np.array(store.get(info, dataset, "val").features)
    folder = store.root / store.key(info, dataset, "val")
    if damage == "cut features":
        with (folder / "features.npy").open("r+b") as file:
            file.truncate(500)
    elif damage == "garbled manifest":
        (folder / "manifest.json").write_text("{")
    else:
        (folder / {"no manifest": "manifest.json", "no ids": "ids.json"}[damage]).unlink()
    assert not is_stored(store, info, dataset, "val")
    np.testing.assert_array_equal(store.get(info, dataset, "val").features, expected)


def test_a_store_that_cannot_be_written_is_refused(tmp_path, info, dataset):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file' cannot be written"):
        FeatureStore(tmp_path / "file").get(info, dataset, "val")


@pytest.fixture
def fail_first(monkeypatch):
    """`fail_first(name, times)` makes the first `times` calls of `Path.name` fail as on a lost NFS mount."""
    monkeypatch.setattr("raybench.store.files.retry.time.sleep", lambda seconds: None)

    def set_up(name: str, times: int) -> list[int]:
        plain, left = getattr(Path, name), [times]

        def flaky(self: Path, *arguments: object, **options: object) -> object:
            if left[0]:
                left[0] -= 1
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return plain(self, *arguments, **options)

        monkeypatch.setattr(Path, name, flaky)
        return left

    return set_up


@pytest.mark.parametrize("call", ["rename", "mkdir", "write_text", "read_bytes", "iterdir"])
def test_a_short_storage_outage_costs_no_second_forward_pass(
    tmp_path, store, info, dataset, fail_first, call
):
    expected = np.array(store.get(info, dataset, "val").features)
    other = FeatureStore(tmp_path / "other")
    left = fail_first(call, 3)
    found = other.get(info, dataset, "val")
    assert left == [0], "no call failed"
    np.testing.assert_array_equal(found.features, expected)
    assert other.num_forward_images == store.num_forward_images
    assert [entry.key for entry in other.entries()] == [store.key(info, dataset, "val")]


def test_a_stored_entry_that_is_temporarily_unreadable_is_not_computed_again(
    store, info, dataset, fail_first, monkeypatch
):
    store.get(info, dataset, "val")
    before = store.num_forward_images
    fail_first("read_bytes", 3)
    store.get(info, dataset, "val")
    assert store.num_forward_images == before
    monkeypatch.setattr("raybench.store.files.retry.RETRY_SECONDS", 0.0)
    fail_first("read_bytes", 1000)
    with pytest.raises(StorageUnavailableError, match="cannot read"):
        store.get(info, dataset, "val")


def test_an_entry_is_kept_if_its_rename_succeeded_but_the_answer_was_lost(store, info, dataset, monkeypatch):
    monkeypatch.setattr("raybench.store.files.retry.time.sleep", lambda seconds: None)
    plain, calls = Path.rename, []

    def done_but_lost(self: Path, target: Path) -> Path:
        calls.append(plain(self, target))
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    monkeypatch.setattr(Path, "rename", done_but_lost)
    found = store.get(info, dataset, "val")
    assert len(calls) == 1
    assert np.isfinite(found.features).all()


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch; torch.set_num_threads(1)
from raybench.backbones.feature_spec import FeatureSpec
from raybench.catalog.backbones import find_backbone
from raybench.features import computation as module
from raybench.features.store import FeatureStore
from drawn import is_stored, make_dataset
plain = module.extract_features
def slowly(*args, **options):
    for rows in plain(*args, **options):
        yield rows
        print("batch", flush=True)
        time.sleep({pause})
module.extract_features = slowly
store = FeatureStore(Path({root!r}))
store.get(find_backbone("mini_resnet.random"), make_dataset(), "train", batch_size=3)
print("forwarded", store.num_forward_images, flush=True)
"""


def start_writer(root: Path, pause: float) -> subprocess.Popen[str]:
    code = WRITER.format(tests=str(Path(__file__).parent), root=str(root), pause=pause)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_killed_writer_leaves_no_entry_and_no_lock(store, info, dataset):
    writer = start_writer(store.root, pause=60)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "batch\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert [path.name for path in store.root.glob("*.partial")]
    assert not is_stored(store, info, dataset, "train")
    assert store.entries() == []
    found = store.get(info, dataset, "train", batch_size=3)  # The dead writer's lock blocks nobody.
    assert np.isfinite(found.features).all()
    assert not list(store.root.glob("*.partial"))


@pytest.mark.slow
def test_concurrent_processes_compute_features_once(store, info, dataset):
    writers = [start_writer(store.root, pause=0.2) for _ in range(3)]
    outputs = [writer.communicate(timeout=DEADLINE_SECONDS)[0] for writer in writers]
    counts = sorted(int(output.splitlines()[-1].split()[1]) for output in outputs)
    assert counts == [0, 0, 12]
    manifest = json.loads(next(store.root.glob("*/manifest.json")).read_text())
    assert manifest["shape"] == [12, 128]


def test_the_key_of_the_pooled_output_is_that_of_earlier_versions(store, info, dataset):
    fingerprint, preprocessing = dataset.split_fingerprint("val"), asdict(preprocessing_of(info))
    del preprocessing["crop_mode"]  # Earlier versions had no other than `center`.
    before = digest_of([checkpoint_digest(info), fingerprint, preprocessing, "pooled", 1], 24)
    assert (
        store.key(info, dataset, "val")
        == store.key(info, dataset, "val", FeatureSpec(0, "pooled", 5.0))
        == before
    )


def test_specs_are_computed_in_one_pass_and_stored_separately(store, info, dataset):
    requested, other = FeatureSpec(0, "max"), FeatureSpec(1, "gem", 2.0)
    computed = store.get(info, dataset, "val", spec=requested, prefetch=[other])
    assert store.num_forward_images == 7
    assert is_stored(store, info, dataset, "val", other)
    assert not is_stored(store, info, dataset, "val")
    alone = FeatureStore(store.root.parent / "alone").get(info, dataset, "val", spec=other)
    again = store.get(info, dataset, "val", spec=other)
    assert store.num_forward_images == 7
    np.testing.assert_array_equal(again.features, alone.features)
    assert not np.array_equal(computed.features, store.get(info, dataset, "val").features)
