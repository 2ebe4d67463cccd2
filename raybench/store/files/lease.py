"""A lease: a lock for a bucket, which has none. An object says who holds it, and is renewed while they live.

Taking it is one conditional PUT (`If-None-Match: *`; `If-Match` in the place of one that has run out), so of
two who try at once the bucket lets one succeed. Its age is told by the bucket's own clock, from the answer
that brings it. A holder that is killed leaves it behind: whoever comes `EXPIRY_SECONDS` after its last sign
of life takes over; on the same machine at once, for there a process can be seen to be gone.

A store that ignores the conditions (some that are not Amazon's) lets two in who come within the same moment.
Nothing gets wrong by that: whatever a lease protects is written whole and has the same content whoever
writes it, so what is lost is the time of doing it twice. The one whose lease was written over notices it
within `RENEWAL_SECONDS`, and a driver then stops.
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
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from raybench.core.errors import StorageUnavailableError
from raybench.store.files.s3 import S3Path

RENEWAL_SECONDS = 10.0
EXPIRY_SECONDS = 45.0
"""Since the last renewal. A lease that was renewed late is still its holder's, until another has taken it."""
LOOK_SECONDS = 1.0
"""Between two looks at a lease that another holds."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A lease as it lies in the bucket."""

    tag: str
    content: dict[str, Any]
    age_seconds: float

    @property
    def is_left_behind(self) -> bool:
        return self.age_seconds > EXPIRY_SECONDS or _is_gone(self.content)


class Lease:
    """One try to hold `path`. `acquire`, then `release`; a thread renews it in between."""

    def __init__(self, path: S3Path) -> None:
        self._path = path
        self._token = secrets.token_hex(8)
        self._tag = ""
        self._is_lost = False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, name="raybench-lease", daemon=True)
        self.holder = ""
        """Who has it, where `acquire` found another."""

    def acquire(self, *, waits: bool, say: Callable[[str], None] = lambda line: None) -> bool:
        """Take the lease; False if another lives and `waits` is off.

        Raises:
            StorageUnavailableError: if the bucket stays away, or refuses for `EXPIRY_SECONDS` to let a lease
                be taken over that nobody holds.
        """
        seen: str | None = None
        refused, refused_since = "", 0.0
        while True:
            found = self._look()
            if found is None or found.is_left_behind:
                if self._take(found):
                    self._thread.start()
                    return True
                if found is None:
                    continue
                if refused != found.tag:
                    refused, refused_since = found.tag, time.monotonic()
                elif time.monotonic() - refused_since > EXPIRY_SECONDS:
                    raise self._never_given()
                time.sleep(LOOK_SECONDS)
                continue
            self.holder = f"process {found.content.get('process')} on {found.content.get('host')}"
            if seen is None:
                seen = found.tag
                say(
                    f"{self.holder} was here {found.age_seconds:.0f} s ago; it is known to be gone after "
                    f"{EXPIRY_SECONDS:g} s"
                )
            elif seen != found.tag and not waits:
                return False
            time.sleep(LOOK_SECONDS)

    def _never_given(self) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"cannot take over {str(self._path)!r}, which its holder has left behind: for "
            f"{EXPIRY_SECONDS:g} s the store has refused to replace it, though nobody changes it, so it "
            "does not honour conditional writes (If-Match); delete that object, or use a store that does."
        )

    def require(self) -> None:
        """Nothing, while the lease is held.

        Raises:
            StorageUnavailableError: if another has taken it over.
        """
        if self._is_lost:
            raise StorageUnavailableError(
                f"another process has taken over {str(self._path)!r} while the bucket was out of reach from "
                "here; that one goes on."
            )

    def release(self) -> None:
        """Give it back, if it is still held. A bucket that is away now keeps it until it runs out."""
        self._is_over.set()
        self._thread.join()
        with suppress(StorageUnavailableError):
            found = self._look(is_patient=False)
            if found is not None and found.content.get("token") == self._token:
                self._path.delete(is_patient=False)

    def _look(self, *, is_patient: bool = True) -> _Found | None:
        try:
            answer = self._path.get(is_patient=is_patient)
        except FileNotFoundError:
            return None
        try:
            content = dict(json.loads(answer["Body"]))
        except (ValueError, TypeError):
            content = {}  # Not written by raybench: it runs out like any other.
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        return _Found(answer["ETag"], content, (now - answer["LastModified"]).total_seconds())

    def _take(self, found: _Found | None) -> bool:
        condition = {"IfNoneMatch": "*"} if found is None else {"IfMatch": found.tag}
        try:
            self._tag = self._path.put(self._content(), **condition)
        except FileNotFoundError:
            return False  # Given back between the look and this.
        except FileExistsError:
            pass  # Another's, or this very one: an answer may be lost and the request made twice.
        found = self._look()
        if found is None or found.content.get("token") != self._token:
            return False
        self._tag = found.tag
        return True

    def _renew_for_ever(self) -> None:
        while not self._is_over.wait(RENEWAL_SECONDS):
            with suppress(StorageUnavailableError):  # The next time, then: others do not reach it either.
                if not self._renew():
                    self._is_lost = True
                    return

    def _renew(self) -> bool:
        found = self._look(is_patient=False)
        if found is None or found.content.get("token") != self._token:
            return False
        with suppress(FileNotFoundError, FileExistsError):  # The next look tells whose it is.
            self._tag = self._path.put(self._content(), IfMatch=found.tag)
        return True

    def _content(self) -> bytes:
        """Never twice the same, so that a renewal changes the tag."""
        content = {
            "token": self._token,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "machine": _machine(),
            "written": time.time_ns(),
        }
        return json.dumps(content).encode()


def _machine() -> str:
    """What has the same process ids: this boot of this machine, and the container in it. Empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_gone(content: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    if not content.get("machine") or content["machine"] != _machine():
        return False
    try:
        os.kill(int(content["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return False
