"""Mutual exclusion: a file lock in a folder, a lease in a bucket."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from raybench.store.files.lease import Lease
from raybench.store.files.location import StoragePath


class ExclusiveLock(Protocol):
    """A lock that is held."""

    def raise_if_lost(self) -> None:
        """Raise if the lock was lost.

        Raises:
            StorageUnavailableError: if a bucket was out of reach for so long that another process took over.
        """


class LockHeldError(Exception):
    """Another process holds the lock and the caller does not wait. The text names the holder if known."""


class _KernelLock:
    """A file lock, which lasts as long as its process."""

    def raise_if_lost(self) -> None:
        return


@contextmanager
def exclusive_lock(
    path: StoragePath, *, blocking: bool = True, on_wait: Callable[[str], None] = lambda line: None
) -> Iterator[ExclusiveLock]:
    """Hold the lock `path`, which one process at a time can hold, on all machines that share the storage.

    In a folder the kernel releases the lock of a process that dies. In a bucket its lease expires (see
    `lease`).

    Args:
        path: of the lock file.
        blocking: wait until another process releases it. If off, wait only until that process is known to
            be alive.
        on_wait: called with a line that says who may hold the lock, before a long wait.

    Raises:
        LockHeldError: if another process holds it and `blocking` is off.
        StorageUnavailableError: if S3 stays unreachable.
        OSError: if a folder cannot be written.
    """
    if isinstance(path, Path):
        from filelock import FileLock, Timeout  # Deferred: readers need no locks.

        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=-1 if blocking else 0)
        except Timeout:
            raise LockHeldError("another process") from None
        try:
            yield _KernelLock()
        finally:
            lock.release()
        return
    lease = Lease(path)
    if not lease.acquire(blocking=blocking, on_wait=on_wait):
        raise LockHeldError(lease.holder)
    try:
        yield lease
    finally:
        lease.release()
