"""Files come to be there whole or not at all."""

from pathlib import Path

import pytest

from raybench.errors import StorageError
from raybench.storage import write_whole


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def test_the_file_holds_what_was_written_and_nothing_else_is_left(tmp_path):
    write_whole(tmp_path / "deep" / "file", lambda file: file.write(b"content"))
    assert (tmp_path / "deep" / "file").read_bytes() == b"content"
    assert names(tmp_path / "deep") == ["file"]


def test_a_writer_that_fails_midway_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half of the n")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_whole(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_file_in_the_folders_place_is_a_storage_error(tmp_path):
    (tmp_path / "in_the_way").write_bytes(b"")
    with pytest.raises(
        StorageError, match=r"cannot write '.*file': .*; free space or choose another storage"
    ):
        write_whole(tmp_path / "in_the_way" / "file", lambda file: file.write(b""))


def test_a_full_disk_is_a_storage_error_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left on device; free space"):
        write_whole(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("is_durable", [True, False])
def test_others_may_read_what_is_written(tmp_path, is_durable):
    write_whole(tmp_path / "file", lambda file: file.write(b""), is_durable=is_durable)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
