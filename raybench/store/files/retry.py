"""Retry transient storage errors with exponential backoff."""

import errno
import os
import time
from collections.abc import Callable
from typing import TypeVar

from raybench.core.errors import StorageError

T = TypeVar("T")

RETRY_SECONDS = 60.0
"""How long transient errors (a restarted server, an unstable network) are retried by default."""
RETRY_VARIABLE = "RAYBENCH_PATIENCE_SECONDS"
"""Environment variable that overrides `RETRY_SECONDS`, on every machine where it is set."""
FIRST_PAUSE_SECONDS = 0.25
"""Pause before the first retry; doubled before each further one, up to `LONGEST_PAUSE_SECONDS`."""
LONGEST_PAUSE_SECONDS = 8.0
TRANSIENT_ERRNOS = frozenset(
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
"""Errors that may pass. A full disk, a missing permission or a read-only mount does not."""


def retry_seconds() -> float:
    """How many seconds transient errors are retried.

    Raises:
        StorageError: if the environment variable is not a number from 0 on.
    """
    text = os.environ.get(RETRY_VARIABLE, "")
    try:
        seconds = float(text) if text else RETRY_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise StorageError(f"{RETRY_VARIABLE} must be a number of seconds, got {text!r}.")
    return seconds


def retry_transient(attempt: Callable[[], T]) -> T:
    """The result of `attempt`, which is retried for `retry_seconds` while it raises a transient error.

    Raises:
        OSError: the last transient error, or the first one that is not transient.
    """
    deadline, pause = time.monotonic() + retry_seconds(), FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except OSError as error:
            if error.errno not in TRANSIENT_ERRNOS or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
