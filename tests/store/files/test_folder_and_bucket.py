"""Files and locks behave the same in a folder and in a bucket."""

import fnmatch
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raybench.store.files import (
    exclusive_lock,
    file_sizes,
    glob_sorted,
    map_concurrently,
    open_binary,
    path_or_buffer,
    read_bytes,
    remove,
    remove_tree,
    write_atomic,
    write_if_absent,
)
from raybench.store.files import lease as lease_module
from raybench.store.files.locks import LockHeldError
from raybench.store.files.s3 import KEYS_PER_REQUEST, SINGLE_PUT_BYTES


def put(path, content=b"content"):
    write_atomic(path, lambda file: file.write(content))


def test_a_written_file_is_read_back_and_is_the_only_one(any_storage):
    put(any_storage / "deep" / "file", b"old")
    put(any_storage / "deep" / "file")
    assert read_bytes(any_storage / "deep" / "file") == b"content"
    assert file_sizes(any_storage) == {"deep/file": 7}


@pytest.mark.parametrize("size", [0, 1, SINGLE_PUT_BYTES + 3])
def test_files_of_every_size_are_read_back(any_storage, size):
    content = bytes(range(251)) * (size // 251 + 1)
    put(any_storage / "file", content[:size])
    assert read_bytes(any_storage / "file") == content[:size]
    with open_binary(any_storage / "file") as file:
        file.seek(size // 2)
        assert file.read() == content[size // 2 : size]


def test_a_failed_write_keeps_the_old_file(any_storage):
    put(any_storage / "file", b"old")

    def write(file):
        file.write(b"half of the n")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomic(any_storage / "file", write)
    assert read_bytes(any_storage / "file") == b"old"
    assert file_sizes(any_storage) == {"file": 3}


def test_missing_files_and_folders_are_reported_as_missing(any_storage):
    assert not (any_storage / "file").is_file()
    assert not any_storage.is_dir()
    assert glob_sorted(any_storage, "*") == []
    assert file_sizes(any_storage) == {}
    with pytest.raises(FileNotFoundError):
        read_bytes(any_storage / "file")
    with pytest.raises(FileNotFoundError), open_binary(any_storage / "file"):
        pass


def test_a_folder_is_not_a_file(any_storage):
    put(any_storage / "a" / "b")
    assert (any_storage / "a").is_dir()
    assert not (any_storage / "a").is_file()
    assert (any_storage / "a" / "b").is_file()
    assert not (any_storage / "a" / "b").is_dir()


def test_removing_twice_is_not_an_error(any_storage):
    put(any_storage / "a" / "file")
    put(any_storage / "ab")
    remove(any_storage / "a" / "file")
    remove(any_storage / "a" / "file")
    put(any_storage / "a" / "other")
    remove_tree(any_storage / "a")
    remove_tree(any_storage / "a")
    assert file_sizes(any_storage) == {"ab": 7}


def test_of_two_writers_the_first_wins_and_both_get_its_content(any_storage):
    assert write_if_absent(any_storage / "id", b"first") == b"first"
    assert write_if_absent(any_storage / "id", b"second") == b"first"
    assert file_sizes(any_storage) == {"id": 5}


def test_concurrent_reads_keep_the_order(any_storage):
    names = [f"{i:02d}" for i in range(40)]
    for name in names:
        put(any_storage / name, name.encode())
    assert map_concurrently(read_bytes, [any_storage / name for name in names], any_storage) == [
        name.encode() for name in names
    ]


def test_an_error_in_one_of_several_concurrent_reads_is_raised(any_storage):
    put(any_storage / "a")
    with pytest.raises(FileNotFoundError):
        map_concurrently(read_bytes, [any_storage / "a", any_storage / "b"], any_storage)


def test_a_path_or_buffer_can_be_read(any_storage):
    put(any_storage / "file")
    source = path_or_buffer(any_storage / "file")
    assert (source.read_bytes() if isinstance(source, Path) else source.read()) == b"content"


def test_a_held_lock_cannot_be_acquired_twice(any_storage, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.05)
    with exclusive_lock(any_storage / "lock") as lock:
        lock.raise_if_lost()
        with (
            pytest.raises(LockHeldError, match="process"),
            exclusive_lock(any_storage / "lock", blocking=False),
        ):
            pass
    with exclusive_lock(any_storage / "lock", blocking=False) as lock:
        lock.raise_if_lost()


def test_waiting_threads_hold_the_lock_one_after_the_other(any_storage, monkeypatch):
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.01)
    inside, most = [], []

    def enter() -> None:
        with exclusive_lock(any_storage / "lock"):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


SEGMENTS = st.sampled_from(["a", "b", "ab", "x.json", "y.json", "x.parquet", "a[1]", "a.b"])
TREES = st.sets(st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6)
PATTERNS = st.sampled_from(["*", "*.json", "*/*.json", "*/", "a/*", "*/x.json", "a*", "a*/*", "ab/*/*.json"])


def is_tree(names: set[str]) -> bool:
    """Whether no file is also a folder, which only a bucket allows."""
    return not any(one.startswith(f"{other}/") for one in names for other in names)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=TREES.filter(is_tree), pattern=PATTERNS)
def test_glob_gives_the_same_in_a_bucket_and_in_a_folder(bucket, tmp_path, names, pattern):
    roots = (bucket, tmp_path / "folder")
    for root in roots:
        remove_tree(root)
        for name in names:
            put(root / name)
    matches = [[str(path).removeprefix(f"{root}/") for path in glob_sorted(root, pattern)] for root in roots]
    files = [name for name in matches[1] if (roots[1] / name).is_file() or pattern.endswith("/")]
    assert matches[0] == files  # In a bucket, folders match only a pattern that ends in a slash.


def test_a_listing_has_all_pages(bucket, monkeypatch):
    names = [f"{i:03d}" for i in range(5)]
    for name in names:
        put(bucket / name)
    monkeypatch.setattr("raybench.store.files.s3.KEYS_PER_REQUEST", 2)
    assert [path.name for path in glob_sorted(bucket, "*")] == names
    assert list(file_sizes(bucket)) == names


def test_deletions_of_more_than_one_request_are_complete(bucket, monkeypatch):
    assert KEYS_PER_REQUEST == 1000, "S3's limit"
    monkeypatch.setattr("raybench.store.files.s3.KEYS_PER_REQUEST", 2)
    for i in range(5):
        put(bucket / str(i))
    remove_tree(bucket)
    assert file_sizes(bucket) == {}


def test_an_object_cannot_be_used_as_a_local_path_id(bucket):
    with pytest.raises(TypeError, match="lies in no file system"):
        Path(bucket)
    assert fnmatch.fnmatch(str(bucket), "s3://*/test-*")
