"""Atomic writes, and deletion, in a folder and in a bucket."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from raybench.core.errors import StorageUnavailableError
from raybench.store.files.location import StoragePath
from raybench.store.files.reading import read_bytes
from raybench.store.files.retry import retry_transient
from raybench.store.files.s3 import S3Path

IN_MEMORY_BYTES = 64 * 2**20
"""A larger file is buffered on disk before its upload."""
NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)
"""Errors of `os.link` on file systems without hard links (exFAT, many FUSE file systems)."""


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


def flush_to_disk(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Of a folder on some network file systems.
            raise
    finally:
        os.close(descriptor)


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
