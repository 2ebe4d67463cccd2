"""CPU seconds of this process, its threads and children, for alternating measurements."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping

Side = Callable[[], object]


def cpu_seconds() -> float:
    """User and system time of this process, all its threads, and children that have been waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def in_turn(sides: Mapping[str, Side], rounds: int, *, warm_up: bool = True) -> dict[str, float]:
    """Median CPU seconds of each side, run alternately (A B A B …).

    Args:
        sides: name → action.
        rounds: runs per side.
        warm_up: run every side once first, because first calls load code and fill caches.
    """
    if warm_up:
        for side in sides.values():
            side()
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            before = cpu_seconds()
            side()
            spent[name].append(cpu_seconds() - before)
    return {name: statistics.median(values) for name, values in spent.items()}
