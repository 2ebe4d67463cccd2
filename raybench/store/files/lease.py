"""Leases: mutual exclusion in a bucket, which has no locks. A lease is an object that its holder renews.

A lease is acquired by one conditional PUT: `If-None-Match: *` to create it, `If-Match` to replace one that
has expired. Of two processes that try at once, the bucket lets one succeed. Age is measured by the bucket's
clock, from the headers of its answer. A killed holder leaves its lease behind: another process takes it over
`EXPIRY_SECONDS` after the last renewal, or at once on the same machine, where it sees that the holder's
process has exited.

Some S3-compatible stores ignore the conditions and let in two processes that come within the same moment.
That costs time, not correctness: what a lease protects is written atomically and is the same whoever writes
it. The holder whose lease was overwritten notices within `RENEWAL_SECONDS`, and a driver then stops.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raybench.core.errors import StorageUnavailableError
from raybench.store.files.s3 import S3Path

RENEWAL_SECONDS = 10.0
EXPIRY_SECONDS = 45.0
"""Time after the last renewal at which a lease expires. A holder that renews late keeps its lease unless
another has taken it over."""
POLL_SECONDS = 1.0
"""Pause between polls of a lease that another process holds."""


@dataclass(frozen=True, slots=True)
class _LeaseState:
    """A lease as read from the bucket."""

    etag: str
    content: dict[str, Any]
    age_seconds: float

    @property
    def is_abandoned(self) -> bool:
        return self.age_seconds > EXPIRY_SECONDS or _has_exited(self.content)

    @property
    def holder(self) -> str:
        return f"process {self.content.get('process')} on {self.content.get('host')}"


class Lease:
    """A lease on `path`, for one `acquire` and one `release`; a thread renews it in between."""

    def __init__(self, path: S3Path) -> None:
        self._path = path
        self._token = secrets.token_hex(8)
        self._is_lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_stopped, name="raybench-lease", daemon=True)
        self.holder = ""
        """The other process that holds the lease, where `acquire` found one."""

    def acquire(self, *, blocking: bool, on_wait: Callable[[str], None] = lambda line: None) -> bool:
        """Acquire the lease; False if another process keeps renewing it and `blocking` is off.

        Args:
            blocking: wait until the other process releases it.
            on_wait: called with a line that says who may hold the lease, before the first wait.

        Raises:
            StorageUnavailableError: if S3 stays unreachable, or refuses for `EXPIRY_SECONDS` to replace an
                abandoned lease.
        """
        seen_etag: str | None = None
        refused_etag, refused_since = "", 0.0
        while True:
            state = self._read()
            if state is None or state.is_abandoned:
                if self._try_write(state):
                    self._thread.start()
                    return True
                if state is None:
                    continue
                if refused_etag != state.etag:
                    refused_etag, refused_since = state.etag, time.monotonic()
                elif time.monotonic() - refused_since > EXPIRY_SECONDS:
                    raise self._takeover_error()
            else:
                self.holder = state.holder
                if seen_etag is None:
                    seen_etag = state.etag
                    on_wait(
                        f"{self.holder} was here {state.age_seconds:.0f} s ago; it is known to be gone after "
                        f"{EXPIRY_SECONDS:g} s"
                    )
                elif seen_etag != state.etag and not blocking:
                    return False
            time.sleep(POLL_SECONDS)

    def raise_if_lost(self) -> None:
        """Raise if another process has taken the lease over.

        Raises:
            StorageUnavailableError: if so.
        """
        if self._is_lost:
            raise StorageUnavailableError(
                f"another process has taken over {str(self._path)!r}, which this one could not renew in "
                "time; that one goes on."
            )

    def release(self) -> None:
        """Delete the lease if it is still held; if S3 is unreachable, it expires by itself."""
        self._stop.set()
        self._thread.join()
        with suppress(StorageUnavailableError):
            if self._is_own(self._read(retry=False)):
                self._path.delete(retry=False)

    def _takeover_error(self) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"cannot take over {str(self._path)!r}, which its holder has left behind: for "
            f"{EXPIRY_SECONDS:g} s the store has refused to replace it, though nobody changes it, so it "
            "does not honour conditional writes (If-Match); delete that object, or use a store that does."
        )

    def _read(self, *, retry: bool = True) -> _LeaseState | None:
        try:
            version = self._path.read_version(retry=retry)
        except FileNotFoundError:
            return None
        try:
            content = dict(json.loads(version.content))
        except (ValueError, TypeError):
            content = {}  # Not written by raybench: it expires like any other.
        return _LeaseState(version.etag, content, version.age_seconds)

    def _is_own(self, state: _LeaseState | None) -> bool:
        return state is not None and state.content.get("token") == self._token

    def _try_write(self, previous: _LeaseState | None) -> bool:
        """Write the lease in place of `previous`; False if another process was first."""
        condition = {"IfNoneMatch": "*"} if previous is None else {"IfMatch": previous.etag}
        try:
            self._path.put(self._content(), **condition)
        except FileNotFoundError:
            return False  # Released since it was read.
        except FileExistsError:
            pass  # Written by another process, or by this one if an answer was lost and the PUT repeated.
        return self._is_own(self._read())

    def _renew_until_stopped(self) -> None:
        while not self._stop.wait(RENEWAL_SECONDS):
            with suppress(StorageUnavailableError):  # Renew next time: others cannot reach it either.
                if not self._renew():
                    self._is_lost = True
                    return

    def _renew(self) -> bool:
        """Renew the lease; False if it is lost."""
        state = self._read(retry=False)
        if state is None or not self._is_own(state):
            return False
        with suppress(FileNotFoundError, FileExistsError):  # The next read tells whose it is.
            self._path.put(self._content(), IfMatch=state.etag)
        return True

    def _content(self) -> bytes:
        """Different at every call, so that a renewal changes the etag."""
        content = {
            "token": self._token,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "machine": _machine_id(),
            "written": time.time_ns(),
        }
        return json.dumps(content).encode()


def _machine_id() -> str:
    """Identity of the process table: the machine's boot and the container's namespace. Empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _has_exited(content: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that no longer runs."""
    if not content.get("machine") or content["machine"] != _machine_id():
        return False
    try:
        os.kill(int(content["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return False
