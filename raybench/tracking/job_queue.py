"""Queue between the driver, which never waits, and the tracking thread, which may wait for a server."""

import math
import threading
import time
from typing import Literal

CLOSING_PAUSE = 2.0
"""Longest pause between attempts after `close`, seconds."""
GIVE_UP_SECONDS = 120.0
"""After `close`, time without any success until a server is given up."""

Job = tuple[Literal["trial", "pair", "summary"], str]
"""Kind of the run to bring up to date, and its id: trial id, pair slug, or empty."""


class OutOfTimeError(Exception):
    """The deadline given to `close` has passed while the server was unavailable."""


class JobQueue:
    """Ordered set of jobs: `put` by any thread, `take` and `pause` by the tracking thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[Job, None] = {}
        self._current: Job | None = None
        self._deadline: float | None = None
        """`time.monotonic()` at which attempts end; None until `close`."""
        self._last_success = time.monotonic()

    @property
    def unfinished(self) -> list[Job]:
        """Waiting jobs and the one in progress."""
        with self._changed:
            return [*self._jobs, *([self._current] if self._current else [])]

    def put(self, job: Job) -> None:
        with self._changed:
            self._jobs[job] = None
            self._changed.notify_all()

    def take(self) -> Job | None:
        """Finish the current job and return the next one; wait for it, or None once closed and empty."""
        with self._changed:
            self._current = None
            while not self._jobs:
                if self._deadline is not None:
                    return None
                self._changed.wait()
            self._current = next(iter(self._jobs))
            del self._jobs[self._current]
            return self._current

    def close(self, timeout: float | None) -> None:
        """Let `take` end when nothing is left, and `pause` raise after `timeout` seconds (None: never)."""
        with self._changed:
            self._last_success = time.monotonic()
            self._deadline = math.inf if timeout is None else self._last_success + timeout
            self._changed.notify_all()

    def record_success(self) -> None:
        self._last_success = time.monotonic()

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt; `close` shortens the wait.

        Raises:
            OutOfTimeError: after the deadline, or `GIVE_UP_SECONDS` after the last success.
        """
        with self._changed:
            if self._deadline is None:
                self._changed.wait_for(lambda: self._deadline is not None, seconds)
                return
            left = min(self._deadline, self._last_success + GIVE_UP_SECONDS) - time.monotonic()
            if left <= 0:
                raise OutOfTimeError
            self._changed.wait(min(seconds, left, CLOSING_PAUSE))
