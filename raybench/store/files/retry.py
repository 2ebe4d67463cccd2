"""A storage that is away for a while is waited for; one that stays away is told of in a sentence."""

import errno
import os
import time
from collections.abc import Callable
from typing import TypeVar

from raybench.core.errors import StorageError

T = TypeVar("T")

RETRY_SECONDS = 60.0
"""How long a storage that is away (a restarted server, a network that flaps) is tried again."""
VARIABLE = "RAYBENCH_PATIENCE_SECONDS"
"""Names another patience, on every machine that is to have it."""
FIRST_PAUSE_SECONDS = 0.25
"""Before the first new try; doubled before every further one, up to `LONGEST_PAUSE_SECONDS`."""
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
"""Errors that may pass by waiting. A full disk, a missing right or a read-only mount does not."""


def retry_seconds() -> float:
    """How many seconds a storage that is away is waited for.

    Raises:
        StorageError: if the variable holds no number from 0 on.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else RETRY_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise StorageError(f"{VARIABLE} must be a number of seconds, got {text!r}.")
    return seconds


def retry_transient(attempt: Callable[[], T]) -> T:
    """What `attempt` gives, tried again within `patience` while it meets an error that may pass.

    Raises:
        OSError: the error that did not pass, or that waiting cannot mend.
    """
    give_up, pause = time.monotonic() + retry_seconds(), FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except OSError as error:
            if error.errno not in TRANSIENT_ERRNOS or time.monotonic() + pause > give_up:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
