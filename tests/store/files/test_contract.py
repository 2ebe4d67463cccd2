"""What a storage is, whether it lies in a folder or in a bucket: the same tests for both."""

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
from raybench.store.files.s3 import KEYS_PER_DELETION, ONE_PUT_BYTES, S3Path


def put(path, content=b"content"):
    write_atomic(path, lambda file: file.write(content))


def test_what_was_written_is_read_and_nothing_else_is_there(place):
    put(place / "deep" / "file", b"old")
    put(place / "deep" / "file")
    assert read_bytes(place / "deep" / "file") == b"content"
    assert file_sizes(place) == {"deep/file": 7}


@pytest.mark.parametrize("size", [0, 1, ONE_PUT_BYTES + 3])
def test_files_of_every_size_come_back(place, size):
    content = bytes(range(251)) * (size // 251 + 1)
    put(place / "file", content[:size])
    assert read_bytes(place / "file") == content[:size]
    with open_binary(place / "file") as file:
        file.seek(size // 2)
        assert file.read() == content[size // 2 : size]


def test_a_writer_that_fails_midway_leaves_the_old_file(place):
    put(place / "file", b"old")

    def write(file):
        file.write(b"half of the n")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomic(place / "file", write)
    assert read_bytes(place / "file") == b"old"
    assert file_sizes(place) == {"file": 3}


def test_what_is_absent_is_said_to_be(place):
    assert not (place / "file").is_file()
    assert not place.is_dir()
    assert glob_sorted(place, "*") == []
    assert file_sizes(place) == {}
    with pytest.raises(FileNotFoundError):
        read_bytes(place / "file")
    with pytest.raises(FileNotFoundError), open_binary(place / "file"):
        pass


def test_a_folder_is_no_file(place):
    put(place / "a" / "b")
    assert (place / "a").is_dir()
    assert not (place / "a").is_file()
    assert (place / "a" / "b").is_file()
    assert not (place / "a" / "b").is_dir()


def test_removing_is_done_once_or_twice(place):
    put(place / "a" / "file")
    put(place / "ab")
    remove(place / "a" / "file")
    remove(place / "a" / "file")
    put(place / "a" / "other")
    remove_tree(place / "a")
    remove_tree(place / "a")
    assert file_sizes(place) == {"ab": 7}


def test_of_two_who_create_a_file_the_first_wins_and_both_know(place):
    assert write_if_absent(place / "id", b"first") == b"first"
    assert write_if_absent(place / "id", b"second") == b"first"
    assert file_sizes(place) == {"id": 5}


def test_many_are_read_in_their_order(place):
    names = [f"{i:02d}" for i in range(40)]
    for name in names:
        put(place / name, name.encode())
    assert map_concurrently(read_bytes, [place / name for name in names], place) == [
        name.encode() for name in names
    ]


def test_an_error_in_one_of_many_is_not_lost(place):
    put(place / "a")
    with pytest.raises(FileNotFoundError):
        map_concurrently(read_bytes, [place / "a", place / "b"], place)


def test_a_library_is_given_something_it_can_read(place):
    put(place / "file")
    source = path_or_buffer(place / "file")
    assert (source.read_bytes() if isinstance(source, Path) else source.read()) == b"content"


def test_only_one_is_in_at_a_time(place, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0.05)
    with exclusive_lock(place / "lock") as held:
        held.require()
        with pytest.raises(LockHeldError, match="process"), exclusive_lock(place / "lock", waits=False):
            pass
    with exclusive_lock(place / "lock", waits=False) as held:
        held.require()


def test_those_who_wait_get_in_one_after_the_other(place, monkeypatch):
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0.01)
    inside, most = [], []

    def enter() -> None:
        with exclusive_lock(place / "lock"):
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


def is_a_tree(names: set[str]) -> bool:
    """Whether no file is a folder as well, which a bucket would allow."""
    return not any(one.startswith(f"{other}/") for one in names for other in names)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=TREES.filter(is_a_tree), pattern=PATTERNS)
def test_a_bucket_finds_what_a_folder_finds(bucket, tmp_path, names, pattern):
    roots = (bucket, tmp_path / "folder")
    for root in roots:
        remove_tree(root)
        for name in names:
            put(root / name)
    found = [[str(path).removeprefix(f"{root}/") for path in glob_sorted(root, pattern)] for root in roots]
    files = [name for name in found[1] if (roots[1] / name).is_file() or pattern.endswith("/")]
    assert found[0] == files  # In a bucket, folders are found only where they are asked for.


def test_a_listing_goes_on_after_its_first_page(bucket, monkeypatch):
    names = [f"{i:03d}" for i in range(5)]
    for name in names:
        put(bucket / name)
    ask = S3Path._page
    monkeypatch.setattr(S3Path, "_page", lambda self, prefix, **o: ask(self, prefix, **{**o, "MaxKeys": 2}))
    assert [path.name for path in glob_sorted(bucket, "*")] == names
    assert list(file_sizes(bucket)) == names


def test_more_than_one_deletion_takes_are_deleted(bucket, monkeypatch):
    assert KEYS_PER_DELETION == 1000, "what S3 allows"
    monkeypatch.setattr("raybench.store.files.s3.KEYS_PER_DELETION", 2)
    for i in range(5):
        put(bucket / str(i))
    remove_tree(bucket)
    assert file_sizes(bucket) == {}


def test_an_object_is_never_taken_for_a_file_of_this_machine(bucket):
    with pytest.raises(TypeError, match="lies in no file system"):
        Path(bucket)
    assert fnmatch.fnmatch(str(bucket), "s3://*/test-*")
