"""The feature store in a bucket: computed once, memory-mapped by each machine from its own disk."""

import errno
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import is_stored

from raybench.cli import main
from raybench.core.errors import StorageUnavailableError
from raybench.features.cache_sync import FeatureCacheSync
from raybench.features.store import FeatureStore
from raybench.store.files import (
    exclusive_lock,
    file_sizes,
    local_folder,
    read_bytes,
    remove_tree,
    write_atomic,
)
from raybench.store.files import lease as lease_module
from raybench.store.files.checksums import checksum_of
from raybench.store.files.s3 import S3Path
from raybench.store.files.s3_client import client

torch.set_num_threads(1)


@pytest.fixture
def node(bucket, tmp_path, monkeypatch):
    """Switches this process to another machine: the same bucket, another disk."""

    def move(name: str) -> FeatureStore:
        monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / name))
        return FeatureStore(bucket / "features")

    return move


def test_another_machine_downloads_what_one_has_computed(node, info, dataset, monkeypatch):
    first = node("a")
    computed = first.get(info, dataset, "val")
    second = node("b")
    assert is_stored(second, info, dataset, "val")
    monkeypatch.setattr("raybench.features.store.load_at_scale", None)
    downloaded = second.get(info, dataset, "val")
    assert (first.num_forward_images, second.num_forward_images) == (7, 0)
    assert isinstance(downloaded.features, np.memmap)
    np.testing.assert_array_equal(downloaded.features, computed.features)
    np.testing.assert_array_equal(downloaded.targets, computed.targets)
    assert downloaded.ids == computed.ids


def test_features_from_a_bucket_equal_those_from_a_folder_bit_for_bit(node, info, dataset, tmp_path):
    stores = (node("a"), FeatureStore(tmp_path / "folder"))
    in_bucket, in_folder = (store.get(info, dataset, "val").features for store in stores)
    np.testing.assert_array_equal(in_bucket, in_folder)


def test_a_copy_on_disk_is_read_without_asking_the_bucket(node, info, dataset, monkeypatch):
    node("a").get(info, dataset, "val")
    node("b").get(info, dataset, "val")
    monkeypatch.setattr(S3Path, "_request", None)
    node("b").get(info, dataset, "val")


@pytest.mark.parametrize("name", ["manifest.json", "features.npy", "ids.json"])
def test_an_incomplete_entry_in_the_bucket_is_never_used(node, bucket, info, dataset, name):
    node("a").get(info, dataset, "val")
    entry = bucket / "features" / node("a").key(info, dataset, "val")
    (entry / name).delete()
    second = node("b")
    assert not is_stored(second, info, dataset, "val")
    second.get(info, dataset, "val")
    assert second.num_forward_images == 7
    assert is_stored(node("c"), info, dataset, "val")


def test_features_computed_while_the_bucket_was_unreachable_are_uploaded_later(
    node, info, dataset, monkeypatch
):
    upload = FeatureCacheSync.upload

    def unreachable(self, key):
        raise StorageUnavailableError("unreachable")

    monkeypatch.setattr(FeatureCacheSync, "upload", unreachable)
    first = node("a")
    with pytest.raises(StorageUnavailableError, match="unreachable"):
        first.get(info, dataset, "val")
    monkeypatch.setattr(FeatureCacheSync, "upload", upload)
    assert not is_stored(node("b"), info, dataset, "val")
    again = node("a")
    again.get(info, dataset, "val")
    assert (first.num_forward_images, again.num_forward_images) == (7, 0)
    second = node("b")
    second.get(info, dataset, "val")
    assert second.num_forward_images == 0


def test_an_upload_by_another_machine_replaces_the_copy_computed_here(node, info, dataset, monkeypatch):
    def unreachable(self, key):
        raise StorageUnavailableError("unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(FeatureCacheSync, "upload", unreachable)
        with pytest.raises(StorageUnavailableError, match="unreachable"):
            node("a").get(info, dataset, "val")
    store = node("b")
    store.get(info, dataset, "val")
    entry = store.root / store.key(info, dataset, "val")
    sent = entry / "features.npy"
    other = bytearray(read_bytes(sent))  # The last bits of another kind of machine.
    other[-4:] = np.float32(42.0).tobytes()
    manifest = json.loads(read_bytes(entry / "manifest.json"))
    manifest["file_checksums"]["features.npy"] = checksum_of(bytes(other))
    write_atomic(sent, lambda file: file.write(other))
    write_atomic(entry / "manifest.json", lambda file: file.write(json.dumps(manifest).encode()))
    monkeypatch.setattr(FeatureCacheSync, "upload", None)
    assert node("a").get(info, dataset, "val").features[-1, -1] == 42.0
    assert read_bytes(sent) == bytes(other)


def test_a_machine_waits_while_another_computes(node, info, dataset, monkeypatch):
    """A lease stands for the other machine; it is released once the entry is in the bucket."""
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.05)
    first = node("a")
    first.get(info, dataset, "val")
    key = first.key(info, dataset, "val")
    elsewhere = first.root / "elsewhere"
    names = list(file_sizes(first.root / key))
    for name in names:
        write_atomic(elsewhere / name, lambda file, n=name: file.write(read_bytes(first.root / key / n)))
    remove_tree(first.root / key)

    second = node("b")
    with exclusive_lock(second.root / f"{key}.lock"):
        thread = threading.Thread(target=second.get, args=(info, dataset, "val"))
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive()
        for name in sorted(names, key="manifest.json".__eq__):
            content = read_bytes(elsewhere / name)
            write_atomic(first.root / key / name, lambda file, c=content: file.write(c))
    thread.join()
    assert second.num_forward_images == 0


def test_a_full_disk_is_reported_with_the_variable_that_moves_the_copies(node, info, dataset, monkeypatch):
    node("a").get(info, dataset, "val")
    second = node("b")
    monkeypatch.setattr(Path, "touch", lambda *a, **k: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(StorageUnavailableError, match="RAYBENCH_CACHE"):
        second.get(info, dataset, "val")


def test_a_disk_that_fills_up_during_a_download_is_reported_as_a_full_disk(node, info, dataset, monkeypatch):
    node("a").get(info, dataset, "val")
    second = node("b")

    def full(*request):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(client(), "download_file", full)
    with pytest.raises(StorageUnavailableError, match=r"cannot copy .*No space left.*RAYBENCH_CACHE"):
        second.get(info, dataset, "val")


def test_clearing_a_cache_reports_entries_that_cannot_be_deleted(
    node, bucket, info, dataset, monkeypatch, capsys
):
    node("a").get(info, dataset, "val")
    kept = {"Errors": [{"Key": "x", "Code": "AccessDenied", "Message": "Access Denied"}]}
    monkeypatch.setattr(client(), "delete_objects", lambda **request: kept)
    assert main(["cache", str(bucket), "--clear"]) == 3
    output = capsys.readouterr()
    assert "emptied" not in output.out
    assert output.err.startswith("raybench: 1 feature sets, ")


def test_leftovers_are_cleared_under_the_lease_of_their_key(node, monkeypatch):
    store, keys = node("a"), []
    (local_folder(store.root) / "key.partial").mkdir(parents=True)
    lock = FeatureCacheSync.lock
    monkeypatch.setattr(FeatureCacheSync, "lock", lambda self, key: keys.append(key) or lock(self, key))
    store.clear()
    assert keys == ["key"]


def test_clearing_a_bucket_deletes_the_copies_on_disk_too(node, info, dataset):
    node("a").get(info, dataset, "val")
    store = node("b")
    store.get(info, dataset, "train")
    entries = store.entries()
    assert {entry.manifest["split"] for entry in entries} == {"train", "val"}
    assert store.size_bytes() == sum(entry.size_bytes for entry in entries)
    assert store.clear() == sum(entry.size_bytes for entry in entries)
    assert store.entries() == []
    assert not is_stored(store, info, dataset, "train")
    assert [path for path in local_folder(store.root).iterdir() if path.is_dir()] == []
