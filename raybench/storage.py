"""The storage folder: where things lie in it, and how a file comes to be there whole or not at all.

STORAGE/
├── experiments/NAME/spec.json            what was asked for
│   ├── trials/TRIAL_ID.json              the ledger: what became of every trial
│   ├── checkpoints/TRIAL_ID/             of trials under way only
│   ├── importance.json                   which hyperparameters mattered
│   ├── identities/                       digests of the backbones and datasets it began with
│   └── recipes/PAIR.yaml                 the winners, each a spec of its own
├── measurements/NAME/TRIAL_ID.parquet    the measurement table
├── costs/                               what inference costs, per checkpoint and machine
├── predictions/NAME/TRIAL_ID.parquet     per-example predictions of the final stage
└── features/                             the feature store
"""

import errno
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from raybench.errors import StorageUnavailableError

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long a storage that is away (a restarted NFS server, a network that flaps) is tried again."""
FIRST_PAUSE_SECONDS = 0.25
"""Before the first new try; doubled before every further one, up to `LONGEST_PAUSE_SECONDS`."""
LONGEST_PAUSE_SECONDS = 8.0
PASSING = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ENOTCONN,
        errno.EREMOTEIO,
    }
)
"""Errors that may pass by waiting. A full disk, a missing right or a read-only mount does not."""


def patiently(attempt: Callable[[], T]) -> T:
    """What `attempt` gives, tried again for `PATIENCE_SECONDS` while it meets an error that may pass.

    Raises:
        OSError: the error that did not pass, or that waiting cannot mend.
    """
    give_up, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except OSError as error:
            if error.errno not in PASSING or time.monotonic() + pause > give_up:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def read_whole(path: Path) -> bytes:
    """The file's bytes; a storage that is away is waited for.

    Raises:
        StorageUnavailableError: if it stays away. To take the file for absent would be to measure it again.
        OSError: if there is no such file, or it may not be read.
    """
    try:
        return patiently(path.read_bytes)
    except OSError as error:
        if error.errno in PASSING:
            raise StorageUnavailableError(
                f"cannot read {str(path)!r} for {PATIENCE_SECONDS:g} s: {error.strerror}; run again once the "
                "storage is back: what was measured is kept."
            ) from error
        raise


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, is_durable: bool = True) -> None:
    """Create or replace `path` with what `write` puts into the file it is handed.

    A reader sees the old file or the new one, never a part: the bytes go to a hidden neighbour, reach the
    disk, and take the name last. A killed writer leaves that neighbour, which no reader looks at. Without
    `is_durable` the bytes may still be on their way to the disk, and only a power cut can tell.

    A storage that is away is tried again for a minute; `write` may therefore be called more than once.

    Raises:
        StorageUnavailableError: if the folder cannot be written or the disk is full.
    """
    try:
        patiently(lambda: _write_once(path, write, is_durable))
    except OSError as error:
        raise StorageUnavailableError(
            f"cannot write {str(path)!r}: {error.strerror or error}; "
            "free space or choose another storage folder."
        ) from error


def _write_once(path: Path, write: Callable[[BinaryIO], object], is_durable: bool) -> None:
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
        temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
