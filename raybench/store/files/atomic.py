"""Atomic writes and whole-file reads, in a folder and in a bucket."""

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from raybench.core.errors import StorageUnavailableError
from raybench.store.files.location import StoragePath
from raybench.store.files.retry import TRANSIENT_ERRNOS, retry_seconds, retry_transient
from raybench.store.files.s3 import S3Path
from raybench.store.files.s3_client import NUM_THREADS

T = TypeVar("T")
Item = TypeVar("Item")

IN_MEMORY_BYTES = 64 * 2**20
"""A larger file is buffered on disk before its upload."""
NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)
"""Errors of `os.link` on file systems without hard links (exFAT, many FUSE file systems)."""


def read_bytes(path: StoragePath) -> bytes:
    """The file's content; transient errors are retried.

    Raises:
        StorageUnavailableError: if they persist. Taking the file for missing would measure it again.
        OSError: if there is no such file, or it may not be read.
    """
    try:
        return retry_transient(path.read_bytes)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise StorageUnavailableError(
                f"cannot read {str(path)!r} for {retry_seconds():g} s: {error.strerror}; run again once the "
                "storage is back: what was measured is kept."
            ) from error
        raise


@contextmanager
def open_binary(path: StoragePath) -> Iterator[BinaryIO]:
    """Open a file for random access; an object is downloaded to a temporary file first.

    Raises:
        StorageUnavailableError: if the storage stays unreachable, or this machine has no room for the object.
        OSError: if there is no such file, or it may not be read.
    """
    if isinstance(path, Path):
        with retry_transient(lambda: path.open("rb")) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="raybench-") as folder:
        copy = Path(folder, "object")
        _download(path, copy)
        with copy.open("rb") as file:
            yield file


def _download(path: S3Path, copy: Path) -> None:
    try:
        path.download(copy)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageUnavailableError(
            f"cannot copy {str(path)!r} to {str(copy.parent)!r} ({error.strerror}); free space there, or let "
            "TMPDIR name another folder."
        ) from error


def path_or_buffer(path: StoragePath) -> Path | io.BytesIO:
    """The path of a local file, or an object's content in memory: what file-reading libraries accept."""
    return path if isinstance(path, Path) else io.BytesIO(path.read_bytes())


def map_concurrently(read: Callable[[Item], T], items: Iterable[Item], *storages: StoragePath) -> list[T]:
    """`read` of every item, in order; by several threads if one of `storages` is a bucket."""
    if all(isinstance(storage, Path) for storage in storages):
        return [read(item) for item in items]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(read, items))


def write_atomic(path: StoragePath, write: Callable[[BinaryIO], object], *, is_durable: bool = True) -> None:
    """Create or replace a file atomically: a reader sees the old content or the new one, never a part.

    In a folder the content is written to a hidden temporary file next to `path`, flushed to disk and renamed.
    A killed writer leaves that temporary file, which no reader opens. In a bucket an object appears when its
    last byte has arrived. Transient errors are retried.

    Args:
        path: of the file.
        write: writes the content into the file it is given; may be called more than once.
        is_durable: flush to disk before the rename. If off, a power cut may lose the content.

    Raises:
        StorageUnavailableError: if the storage cannot be written or the disk is full.
    """
    try:
        if isinstance(path, S3Path):
            with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
                write(cast(BinaryIO, file))
                path.upload(cast(BinaryIO, file))
        else:
            retry_transient(lambda: _write_and_rename(path, write, is_durable))
    except OSError as error:
        raise _write_error(path, error) from error


def _write_and_rename(path: Path, write: Callable[[BinaryIO], object], is_durable: bool) -> None:
    with _temporary_file(path, write, is_durable) as temporary:
        temporary.replace(path)


@contextmanager
def _temporary_file(path: Path, write: Callable[[BinaryIO], object], is_durable: bool) -> Iterator[Path]:
    """A complete file next to `path`, under a name that is unique across processes and machines."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".partial", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            write(file)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would lock out other users of a shared storage.
        yield temporary
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_if_absent(path: StoragePath, content: bytes) -> bytes:
    """Create the file if it does not exist, and return its content: of several writers the first wins.

    Transient errors are retried. On a file system without hard links, and in a bucket that ignores
    conditional writes, the last of several simultaneous writers wins.

    Raises:
        StorageUnavailableError: if the storage cannot be written or the disk is full.
    """
    if isinstance(path, S3Path):
        with suppress(FileExistsError):
            path.put(content, IfNoneMatch="*")
        return path.read_bytes()
    try:
        retry_transient(lambda: _link_if_absent(path, content))
    except OSError as error:
        raise _write_error(path, error) from error
    return read_bytes(path)


def _link_if_absent(path: Path, content: bytes) -> None:
    """Create the file unless it exists. A retry after a link whose answer was lost finds its own file."""
    with _temporary_file(path, lambda file: file.write(content), is_durable=True) as temporary:
        try:
            os.link(temporary, path)  # Unlike a rename, fails if the file exists.
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            if not path.exists():
                temporary.replace(path)


def _write_error(path: StoragePath, error: OSError) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"cannot write {str(path)!r}: {error.strerror or error}; free space or choose another storage folder."
    )


def remove(path: StoragePath) -> None:
    """Delete a file if it exists.

    Raises:
        StorageUnavailableError: if S3 stays unreachable or refuses.
        OSError: if a local file cannot be deleted.
    """
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
    else:
        path.delete()


def remove_tree(folder: StoragePath) -> None:
    """Delete everything below a folder, as far as possible; errors are ignored."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with suppress(StorageUnavailableError):
        folder.delete_tree()


def glob_sorted(folder: StoragePath, pattern: str) -> list[StoragePath]:
    """Sorted paths matching a pattern, as in `Path.glob`; empty if the folder does not exist.

    Raises:
        StorageUnavailableError: if S3 stays unreachable.
        OSError: if a folder may not be read.
    """
    return [*sorted(folder.glob(pattern))] if isinstance(folder, Path) else [*folder.glob(pattern)]


def file_sizes(folder: StoragePath) -> dict[str, int]:
    """Bytes of every file below a folder, by its relative name; empty if the folder does not exist."""
    if isinstance(folder, S3Path):
        return folder.file_sizes()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
