"""Damaged entries of the feature store: noticed by their checksums, computed again, and said so."""

import errno
import json
import os
import subprocess

import numpy as np
import pytest
import torch
from drawn import make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.catalog.backbones import find_backbone
from raybench.core.errors import StorageUnavailableError
from raybench.features.entry import write_entries
from raybench.features.store import FeatureStore

torch.set_num_threads(1)


def flip_bit(path, position: int, bit: int = 0) -> None:
    """Flip one bit of a file, whose size stays."""
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(bytes(content))


def only_entry(store: FeatureStore):
    return next(path for path in store.root.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", ["features.npy", "targets.npy", "ids.json"])
def test_an_entry_with_a_flipped_bit_is_computed_again_and_said_so(tmp_path, info, dataset, name):
    said: list[str] = []
    store = FeatureStore(tmp_path / "features", on_damage=said.append)
    expected = store.get(info, dataset, "val")
    features = np.array(expected.features)
    flip_bit(only_entry(store) / name, -1)
    again = store.get(info, dataset, "val")
    np.testing.assert_array_equal(again.features, features)
    np.testing.assert_array_equal(again.targets, expected.targets)
    assert again.ids == expected.ids
    assert store.num_forward_images == 2 * 7
    assert len(said) == 1
    assert f"mini_resnet.random on drawn (val) are damaged: {str(only_entry(store) / name)!r}" in said[0]


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7), kind=st.integers(0, 3))
@settings(max_examples=60)
def test_no_flipped_bit_changes_what_a_store_gives(filled_store, position, bit, kind):
    store, expected = filled_store
    info, dataset = find_backbone("mini_resnet.random"), make_dataset()
    path = sorted(only_entry(store).iterdir())[kind]
    flip_bit(path, position, bit)
    again = store.get(info, dataset, "val")
    np.testing.assert_array_equal(again.features, expected.features)
    np.testing.assert_array_equal(again.targets, expected.targets)
    assert again.ids == expected.ids


@pytest.fixture(scope="module")
def filled_store(tmp_path_factory):
    store = FeatureStore(tmp_path_factory.mktemp("features"))
    stored = store.get(find_backbone("mini_resnet.random"), make_dataset(), "val")
    return store, type(stored)(np.array(stored.features), stored.targets, stored.ids)


def test_an_entry_without_checksums_is_read_as_earlier_versions_left_it(tmp_path, info, dataset):
    store = FeatureStore(tmp_path / "features")
    store.get(info, dataset, "val")
    manifest = only_entry(store) / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["file_checksums"]
    manifest.write_text(json.dumps(content))
    FeatureStore(store.root).get(info, dataset, "val")
    assert store.num_forward_images == 7


def test_checksums_are_computed_once_per_process(tmp_path, info, dataset, monkeypatch):
    store = FeatureStore(tmp_path / "features")
    for _ in range(2):  # Computed, then read.
        store.get(info, dataset, "val")
    monkeypatch.setattr("raybench.store.files.checksums.xxhash", None)
    store.get(info, dataset, "val")
    assert store.num_forward_images == 7


def test_a_damaged_object_in_a_bucket_is_not_used(bucket, tmp_path, monkeypatch, info, dataset):
    first = FeatureStore(bucket / "features")
    expected = np.array(first.get(info, dataset, "val").features)
    path = bucket / "features" / first.key(info, dataset, "val") / "features.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.put(bytes(content))
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "another"))
    second = FeatureStore(bucket / "features")
    np.testing.assert_array_equal(second.get(info, dataset, "val").features, expected)
    assert second.num_forward_images == 7
    assert path.read_bytes() != bytes(content)


def test_space_is_reserved_before_the_first_forward_pass(tmp_path, monkeypatch):
    def refuse(*arguments: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    batches = iter([[np.ones((1, 4), dtype=np.float32)]])
    with pytest.raises(StorageUnavailableError, match="No space left on device"):
        write_entries(tmp_path, {"key": {}}, batches, np.zeros(1), ["0"], 4)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path):
    """On a real file system of 1 MiB; mounting one needs root. Without reservation this is a SIGBUS."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    try:
        batches = ([np.ones((100, 1024), dtype=np.float32)] for _ in range(10))
        with pytest.raises(StorageUnavailableError, match="No space left on device"):
            write_entries(tmp_path, {"key": {}}, batches, np.zeros(1000), ["0"] * 1000, 4)
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
