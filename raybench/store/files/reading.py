"""Read and list files, in a folder and in a bucket."""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from raybench.core.errors import StorageUnavailableError
from raybench.store.files.location import StoragePath
from raybench.store.files.retry import TRANSIENT_ERRNOS, retry_seconds, retry_transient
from raybench.store.files.s3 import S3Path
from raybench.store.files.s3_client import NUM_THREADS

T = TypeVar("T")
Item = TypeVar("Item")


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
