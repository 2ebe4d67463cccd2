"""Texts of the progress display: shards done, times, and the aligned lines of a table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

MIN_NAME_WIDTH = 4
"""Characters to which names of tasks and backbones are shortened at most."""


@dataclass
class Shards:
    """Trials of one features stage in shards."""

    num_total: int
    num_done: int = 0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        """`features 3/20`, and the time left at the rate so far.

        >>> str(Shards(20, 5, started=time.monotonic() - 60))
        'features 5/20, 3:00 left'
        """
        text = f"features {self.num_done}/{self.num_total}"
        if not self.num_done:
            return text
        seconds = time.monotonic() - self.started
        return f"{text}, {clock_text(seconds / self.num_done * (self.num_total - self.num_done))} left"


def clock_text(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock_text(3725)
    '62:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:d}:{rest:02d}"


def aligned(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lines of a table: the first two columns are shortened to fit the width, the last two are on the right.

    >>> aligned([("task", "backbone", "state", "trials", "best"), ("knn", "vit", "done", "3/3", "91%")], 80)
    ['task  backbone  state  trials  best', 'knn   vit       done      3/3   91%']
    >>> aligned([("a_long_task", "vit", "done", "3/3", "91%")], 24)
    ['a_l…  vit  done  3/3  91%']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths[:2]) > MIN_NAME_WIDTH:
        widths[widths.index(max(widths[:2]))] -= 1
    lines = []
    for row in rows:
        names = [
            name if len(name) <= size else f"{name[: size - 1]}…"
            for name, size in zip(row[:2], widths[:2], strict=True)
        ]
        left = [text.ljust(size) for text, size in zip([*names, row[2]], widths[:3], strict=True)]
        right = [text.rjust(size) for text, size in zip(row[3:], widths[3:], strict=True)]
        lines.append("  ".join([*left, *right]))
    return lines
