"""CPU seconds of a command and everything it starts, including Ray's daemons and workers, over time.

`getrusage` does not count Ray's processes, because they leave their parent's session and are not waited for.
But they inherit an environment variable, by which they are found in /proc twenty times a second. The last
50 ms of a process may be missed.
"""

import bisect
import os
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

MARKER = "RAYBENCH_BENCHMARK"
POLL_SECONDS = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Timeline:
    """Total CPU seconds over time."""

    times: list[float] = field(default_factory=list)
    """Seconds since the epoch."""
    totals: list[float] = field(default_factory=list)
    output: str = ""
    returncode: int = -1

    def cpu_at(self, moment: float) -> float:
        """CPU seconds spent until `moment`, interpolated between samples."""
        right = min(max(bisect.bisect_left(self.times, moment), 1), len(self.times) - 1)
        (t0, t1), (c0, c1) = self.times[right - 1 : right + 1], self.totals[right - 1 : right + 1]
        share = min(max((moment - t0) / (t1 - t0), 0.0), 1.0) if t1 > t0 else 1.0
        return c0 + share * (c1 - c0)

    @property
    def cpu_total(self) -> float:
        return self.totals[-1]


def run_and_watch(command: list[str], *, environment: dict[str, str], timeout: float) -> Timeline:
    """Run `command` to its end and sample its CPU time.

    Raises:
        subprocess.CalledProcessError: if it fails; the exception holds its output.
    """
    value = secrets.token_hex(8)
    needle = f"{MARKER}={value}".encode()
    timeline, seen, others = Timeline(), dict[tuple[int, int], float](), set[tuple[int, int]]()
    process = subprocess.Popen(
        command,
        env={**environment, MARKER: value},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    deadline = time.monotonic() + timeout
    while process.poll() is None:
        _sample(needle, seen, others)
        timeline.times.append(time.time())
        timeline.totals.append(sum(seen.values()))
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(POLL_SECONDS)
    timeline.output = process.stdout.read() if process.stdout else ""
    timeline.returncode = process.returncode
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, timeline.output[-4000:])
    return timeline


def _sample(needle: bytes, seen: dict[tuple[int, int], float], others: set[tuple[int, int]]) -> None:
    """Update the CPU seconds of every live process with the marker."""
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if not name.isdigit():
            continue
        try:
            fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
            identity = (int(name), int(fields[19]))  # A pid may be reused, with another start time.
            if identity in others:
                continue
            if identity not in seen and needle not in Path("/proc", name, "environ").read_bytes():
                if (
                    time.time() - _started(identity[1]) > 1.0
                ):  # Between fork and exec it still has the parent's environment.
                    others.add(identity)
                continue
            seen[identity] = (int(fields[11]) + int(fields[12])) / _TICKS
        except OSError:
            continue


def _started(start_ticks: int) -> float:
    """Start time of a process, from ticks since boot to seconds since the epoch."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + start_ticks / _TICKS
