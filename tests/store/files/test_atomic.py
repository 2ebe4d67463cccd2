"""Atomic writes in a folder."""

import errno
import os
from pathlib import Path

import pytest

from raybench.core.errors import StorageError, StorageUnavailableError
from raybench.store.files import read_bytes, write_atomic, write_if_absent


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def test_the_file_holds_what_was_written_and_no_temporary_file_is_left(tmp_path):
    write_atomic(tmp_path / "deep" / "file", lambda file: file.write(b"content"))
    assert (tmp_path / "deep" / "file").read_bytes() == b"content"
    assert names(tmp_path / "deep") == ["file"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half of the n")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomic(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_file_where_the_folder_should_be_is_a_storage_error(tmp_path):
    (tmp_path / "in_the_way").write_bytes(b"")
    with pytest.raises(
        StorageError, match=r"cannot write '.*file': .*; free space or choose another storage"
    ):
        write_atomic(tmp_path / "in_the_way" / "file", lambda file: file.write(b""))


def test_a_full_disk_is_a_storage_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left on device; free space"):
        write_atomic(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("is_durable", [True, False])
def test_written_files_are_readable_by_other_users(tmp_path, is_durable):
    write_atomic(tmp_path / "file", lambda file: file.write(b""), is_durable=is_durable)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def fail_renames(monkeypatch, times, number=errno.ESTALE):
    """Make the first `times` renames fail, and return the list of pauses between retries."""
    left, pauses, replace = [times], [], Path.replace

    def flaky(self, target):
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return replace(self, target)

    clock = [0.0]
    monkeypatch.setattr(Path, "replace", flaky)
    monkeypatch.setattr("raybench.store.files.retry.time.monotonic", lambda: clock[0])

    def sleep(seconds):
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("raybench.store.files.retry.time.sleep", sleep)
    return pauses


def test_transient_errors_are_retried_with_growing_pauses(tmp_path, monkeypatch):
    pauses = fail_renames(monkeypatch, times=4)
    write_atomic(tmp_path / "file", lambda file: file.write(b"content"))
    assert (tmp_path / "file").read_bytes() == b"content"
    assert names(tmp_path) == ["file"]
    assert pauses == [0.25, 0.5, 1.0, 2.0]


def test_a_lasting_outage_is_reported_within_a_minute(tmp_path, monkeypatch):
    pauses = fail_renames(monkeypatch, times=1000)
    with pytest.raises(StorageUnavailableError, match="cannot write"):
        write_atomic(tmp_path / "file", lambda file: file.write(b"content"))
    assert 40 < sum(pauses) <= 60
    assert names(tmp_path) == []


def test_a_full_disk_is_not_retried(tmp_path, monkeypatch):
    pauses = fail_renames(monkeypatch, times=1, number=errno.ENOSPC)
    with pytest.raises(StorageUnavailableError, match="No space left"):
        write_atomic(tmp_path / "file", lambda file: file.write(b"content"))
    assert pauses == []


def test_an_unreadable_file_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    fail_renames(monkeypatch, times=0)

    def gone(self):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", gone)
    with pytest.raises(StorageUnavailableError, match="cannot read"):
        read_bytes(tmp_path / "file")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_the_first_writer_wins_without_hard_links_too(tmp_path, monkeypatch, number):
    def link(source, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    assert write_if_absent(tmp_path / "deep" / "id", b"first") == b"first"
    assert write_if_absent(tmp_path / "deep" / "id", b"second") == b"first"
    assert names(tmp_path / "deep") == ["id"]
    assert (tmp_path / "deep" / "id").stat().st_mode & 0o777 == 0o644


def test_creating_a_file_retries_transient_errors_and_reports_lasting_ones(tmp_path, monkeypatch):
    pauses = fail_renames(monkeypatch, times=0)
    left, link = [2], os.link

    def flaky(source, target):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, "Stale file handle")
        link(source, target)

    monkeypatch.setattr(os, "link", flaky)
    assert write_if_absent(tmp_path / "id", b"content") == b"content"
    assert pauses == [0.25, 0.5]
    left[0] = 1000
    with pytest.raises(StorageUnavailableError, match=r"cannot write '.*other': Stale file handle"):
        write_if_absent(tmp_path / "other", b"content")
    assert names(tmp_path) == ["id"]


def test_processes_with_the_same_id_on_two_machines_do_not_share_a_temporary_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    link, temporary_files = os.link, []

    def slow(source, target):
        temporary_files.append(source)
        if len(temporary_files) == 1:
            assert write_if_absent(tmp_path / "id", b"second") == b"second"
        link(source, target)

    monkeypatch.setattr(os, "link", slow)
    assert write_if_absent(tmp_path / "id", b"first") == b"second"
    assert len(set(temporary_files)) == 2
