"""Ports, waiting and killing, for tests that start processes."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_SECONDS = 900
"""Limit for anything a test waits for: far above what a loaded machine needs, so that only a hang fails."""
SERVER_PORTS = range(20_000, 32_000)
"""Below Linux's ephemeral ports (from 32768), above those of Ray's workers (10002 to 19999)."""


def free_port() -> int:
    """An unused port of 127.0.0.1, outside the range from which the kernel assigns ports to processes."""
    while True:
        port = random.SystemRandom().choice(SERVER_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(is_reached: Callable[[], object], description: str, *, pause: float = 0.05) -> None:
    """Poll a condition until it is true.

    Raises:
        AssertionError: after `DEADLINE_SECONDS`.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_reached():
        assert time.monotonic() < deadline, f"still waiting after {DEADLINE_SECONDS} s: {description}"
        time.sleep(pause)


def accepts_connections(port: int) -> bool:
    """True if something listens on this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except OSError:
        return False
    return True


def wait_for_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until a process listens on a port of 127.0.0.1."""

    def is_listening() -> bool:
        assert process.poll() is None, f"the process ended with code {process.returncode}"
        return accepts_connections(port)

    wait_until(is_listening, f"a listener on port {port}", pause=0.2)


def descendants(ancestor: int) -> list[int]:
    """Ids of all processes below one."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])

    def is_below(process: int) -> bool:
        while process in parents and process != ancestor:
            process = parents[process]
        return process == ancestor

    return [process for process in parents if process != ancestor and is_below(process)]


def kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGKILL to a process and all its descendants, whatever their process groups."""
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
