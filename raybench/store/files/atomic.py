"""Files are there whole or not at all, in a folder and in a bucket."""

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
"""What is larger waits in a temporary file on its way to a bucket or from it."""
NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)
"""What file systems without hard links (exFAT, many of FUSE) answer to one."""


def read_bytes(path: StoragePath) -> bytes:
    """The file's bytes; a storage that is away is waited for.

    Raises:
        StorageUnavailableError: if it stays away. To take the file for absent would be to measure it again.
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
    """The file, open for reading at any position; an object is fetched first.

    Raises:
        StorageUnavailableError: if the storage stays away, or this machine has no room for the object.
        OSError: if there is no such file, or it may not be read.
    """
    if isinstance(path, Path):
        with retry_transient(lambda: path.open("rb")) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="raybench-") as folder:
        copy = Path(folder, "object")
        _copy(path, copy)
        with copy.open("rb") as file:
            yield file


def _copy(path: S3Path, copy: Path) -> None:
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
    """What a library reads it from: the file, or the object's bytes."""
    return path if isinstance(path, Path) else io.BytesIO(path.read_bytes())


def map_concurrently(read: Callable[[Item], T], items: Iterable[Item], *storages: StoragePath) -> list[T]:
    """`read` of every item in order, where `read` asks one of `storages` for something small.

    A bucket takes as long to answer for one object as for many, so it is asked by many threads.
    """
    if all(isinstance(storage, Path) for storage in storages):
        return [read(item) for item in items]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(read, items))


def write_atomic(path: StoragePath, write: Callable[[BinaryIO], object], *, is_durable: bool = True) -> None:
    """Create or replace `path` with what `write` puts into the file it is handed.

    A reader sees the old file or the new one, never a part. In a folder the bytes go to a hidden neighbour,
    reach the disk, and take the name last; a killed writer leaves that neighbour, which no reader looks at.
    Without `is_durable` the bytes may still be on their way to the disk, and only a power cut can tell. In a
    bucket an object appears when its last byte has arrived.

    A storage that is away is tried again for a minute; `write` may therefore be called more than once.

    Raises:
        StorageUnavailableError: if the storage cannot be written or the disk is full.
    """
    try:
        if isinstance(path, S3Path):
            with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
                write(cast(BinaryIO, file))
                path.upload(cast(BinaryIO, file))
        else:
            retry_transient(lambda: _replace(path, write, is_durable))
    except OSError as error:
        raise _cannot_write(path, error) from error


def _replace(path: Path, write: Callable[[BinaryIO], object], is_durable: bool) -> None:
    with _draft(path, write, is_durable) as draft:
        draft.replace(path)


@contextmanager
def _draft(path: Path, write: Callable[[BinaryIO], object], is_durable: bool) -> Iterator[Path]:
    """A complete neighbour of `path` under a name that no other process has, nor one of another machine."""
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
        temporary.chmod(0o644)  # mkstemp's 0600 would lock out the other users of a shared storage.
        yield temporary
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_if_absent(path: StoragePath, content: bytes) -> bytes:
    """Create the file unless it is there, and return what is in it then: of several writers the first wins.

    A bucket that ignores conditions takes the last one's; all of them return what was read afterwards.

    A storage that is away is tried again for a minute. A file system without hard links takes the last
    one's content of writers that come within the same moment.

    Raises:
        StorageUnavailableError: if the storage cannot be written or the disk is full.
    """
    if isinstance(path, S3Path):
        with suppress(FileExistsError):
            path.put(content, IfNoneMatch="*")
        return path.read_bytes()
    try:
        retry_transient(lambda: _create(path, content))
    except OSError as error:
        raise _cannot_write(path, error) from error
    return read_bytes(path)


def _create(path: Path, content: bytes) -> None:
    """May be called again where the answer to a link was lost: then the file is there, with this content."""
    with _draft(path, lambda file: file.write(content), is_durable=True) as draft:
        try:
            os.link(draft, path)  # Unlike a rename, fails where another process was first.
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            if not path.exists():
                draft.replace(path)


def _cannot_write(path: StoragePath, error: OSError) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"cannot write {str(path)!r}: {error.strerror or error}; free space or choose another storage folder."
    )


def remove(path: StoragePath) -> None:
    """Delete the file, if it is there.

    Raises:
        StorageUnavailableError: if a bucket does not do so.
        OSError: if a folder does not.
    """
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
    else:
        path.delete()


def remove_tree(folder: StoragePath) -> None:
    """Delete all that lies below, as far as that can be done; what stays is in nobody's way."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with suppress(StorageUnavailableError):
        folder.delete_below()


def glob_sorted(folder: StoragePath, pattern: str) -> list[StoragePath]:
    """What lies in the folder and matches, as `Path.glob` does, sorted; empty if there is no such folder.

    Raises:
        StorageUnavailableError: if a bucket stays away.
        OSError: if a folder may not be read.
    """
    return [*sorted(folder.glob(pattern))] if isinstance(folder, Path) else [*folder.glob(pattern)]


def file_sizes(folder: StoragePath) -> dict[str, int]:
    """Every file below, by its name relative to the folder: its bytes; empty if there is no such folder."""
    if isinstance(folder, S3Path):
        return folder.file_sizes()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
