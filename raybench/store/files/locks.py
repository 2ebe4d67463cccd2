"""One at a time: who enters first keeps the others out until it leaves, or dies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from raybench.store.files.lease import Lease
from raybench.store.files.location import StoragePath


class ExclusiveLock(Protocol):
    """What the one who has entered holds."""

    def require(self) -> None:
        """Nothing, while it is still the only one.

        Raises:
            StorageUnavailableError: if it was away from a bucket for so long that another has taken over.
        """


class LockHeldError(Exception):
    """Another is in, and the caller does not wait. Its text says who, as far as that is known."""


class _Held:
    """The kernel keeps its locks."""

    def require(self) -> None:
        return


@contextmanager
def exclusive_lock(
    path: StoragePath, *, waits: bool = True, say: Callable[[str], None] = lambda line: None
) -> Iterator[ExclusiveLock]:
    """Be the only one who holds `path`, on every machine that shares the storage.

    In a folder the kernel sees to it, and lets go at once where a process dies. In a bucket a lease does
    (see `lease`), and one that was not given back is taken over when it has run out.

    Args:
        path: of the lock; lies beside what it protects.
        waits: for another to leave. Without, only for as long as it takes to know that another lives.
        say: takes a line when that takes long.

    Raises:
        LockHeldError: if another is in and `waits` is off.
        StorageUnavailableError: if a bucket stays away.
        OSError: if a folder cannot be written.
    """
    if isinstance(path, Path):
        from filelock import FileLock, Timeout  # Deferred: a reader needs no locks.

        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=-1 if waits else 0)
        except Timeout:
            raise LockHeldError("another process") from None
        try:
            yield _Held()
        finally:
            lock.release()
        return
    lease = Lease(path)
    if not lease.acquire(waits=waits, say=say):
        raise LockHeldError(lease.holder)
    try:
        yield lease
    finally:
        lease.release()
