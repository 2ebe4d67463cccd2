"""Progress of an experiment: a live table in a terminal, plain lines in a job log."""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from raybench.core.records import Pair, TrialRecord, TrialRequest
from raybench.metrics import METRICS
from raybench.tuning.study import PairStudy

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_PER_SECOND = 4
MIN_ROWS = 5
MAX_SHARD_TEXTS = 3
"""Features stages that a line of a log describes."""
LINES_AROUND = 8
"""Lines of the terminal that the live table leaves free, for its title, its heading and earlier output."""


@dataclass
class PairState:
    """One pair: a row of the live table."""

    study: PairStudy
    num_running: int = 0
    stage: str = ""
    shards: "Shards | None" = None
    """Of its features stage, where that has more than one trial."""

    @property
    def state(self) -> str:
        if self.study.failure is not None:
            return "failed"
        if self.study.is_finished:
            return "done"
        return "running" if self.num_running else "waiting"

    @property
    def best_text(self) -> str:
        """`best` for people: a percentage where the objective is a fraction; empty if there is none."""
        if self.best is None:
            return ""
        is_fraction = METRICS[self.study.plan.objective].bounds == (0.0, 1.0)
        return f"{self.best:.1%}" if is_fraction else f"{self.best:.4g}"

    @property
    def best(self) -> float | None:
        """The objective on val of the best search trial; for a recipe, without search, of the first seed."""
        finals = [r for r in self.study.records.values() if r.stage == "final" and r.status == "completed"]
        best = self.study.winner or min(finals, key=lambda record: record.index, default=None)
        return None if best is None else best.value_of("val", self.study.plan.objective)


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


@dataclass
class Progress:
    """State of all pairs; subclasses draw it. Every method is called from the driver's only thread."""

    studies: list[PairStudy]
    stream: TextIO = field(default_factory=lambda: sys.stdout)

    def __post_init__(self) -> None:
        self.states = {study.pair: PairState(study) for study in self.studies}
        self._started = time.monotonic()

    @property
    def elapsed(self) -> str:
        return clock_text(int(time.monotonic() - self._started))

    def summary(self) -> str:
        """Pairs by state, trials and elapsed time, in one line."""
        counts = Counter(state.state for state in self.states.values())
        shown = ", ".join(f"{counts[name]} {name}" for name in ("done", "running", "waiting", "failed"))
        trials = sum(state.study.num_done for state in self.states.values())
        planned = sum(state.study.num_planned for state in self.states.values())
        shards = [str(state.shards) for state in self.states.values() if state.shards and state.num_running]
        features = f" {'; '.join(shards[:MAX_SHARD_TEXTS])};" if shards else ""
        return f"{len(self.states)} pairs: {shown}; {trials}/{planned} trials;{features} {self.elapsed}"

    def trial_started(self, request: TrialRequest) -> None:
        state = self.states[request.pair]
        state.num_running += 1
        state.stage = request.stage
        num_shards = int(request.hparams.get("num_shards", 1)) if request.stage == "features" else 1
        if num_shards > 1 and state.shards is None:
            state.shards = Shards(num_shards)
        self.draw()

    def trial_ended(self, request: TrialRequest, record: TrialRecord) -> None:
        state = self.states[request.pair]
        state.num_running -= 1
        if state.shards is not None and request.stage == "features":
            state.shards.num_done += 1
            if state.shards.num_done == state.shards.num_total:
                state.shards = None
        self.draw()

    def pair_finished(self, pair: Pair) -> None:
        """Called once per pair, when it is done or has failed."""

    def draw(self) -> None:
        """Show the current state."""

    def note(self, line: str) -> None:
        """Show a permanent line."""
        print(line, file=self.stream, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop drawing."""


class PlainProgress(Progress):
    """For logs: a line at the start, per finished pair, and every half minute."""

    INTERVAL_SECONDS = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._last = time.monotonic()

    def __enter__(self) -> "PlainProgress":
        self._print(self.summary())
        return self

    def draw(self) -> None:
        if time.monotonic() - self._last >= self.INTERVAL_SECONDS:
            self._print(self.summary())

    def pair_finished(self, pair: Pair) -> None:
        state = self.states[pair]
        outcome = state.study.failure or f"best val {state.study.plan.objective} {state.best_text}"
        if state.study.is_converged:
            outcome += f", search converged after {state.study.num_search} trials"
        self._print(f"{state.state:7} {pair.task} · {pair.backbone}: {outcome} ({self.summary()})")

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        print(line, file=self.stream, flush=True)


class LiveProgress(Progress):
    """For terminals: a table that is redrawn in place, with the best value so far of every pair."""

    def __post_init__(self) -> None:
        super().__post_init__()
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(file=self.stream), refresh_per_second=REFRESH_PER_SECOND, transient=True
        )

    def __enter__(self) -> "LiveProgress":
        self._live.start()
        self.draw()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def note(self, line: str) -> None:
        self._live.console.print(line)

    def draw(self) -> None:
        self._live.update(self._table())

    def _table(self) -> "Table":
        from rich.table import Table

        styles = {"done": "green", "running": "bold cyan", "waiting": "dim", "failed": "bold red"}
        order = {"running": 0, "failed": 1, "waiting": 2, "done": 3}
        table = Table(title=self.summary(), title_justify="left", box=None, pad_edge=False)
        for heading in ("task", "backbone", "state", "trials", "best on val"):
            table.add_column(heading, justify="right" if heading in ("trials", "best on val") else "left")
        rows = sorted(self.states.items(), key=lambda item: order[item[1].state])
        shown = max(MIN_ROWS, self._live.console.height - LINES_AROUND)
        for pair, state in rows[:shown]:
            label = (
                f"{state.state} ({state.shards or state.stage})" if state.state == "running" else state.state
            )
            cells = (
                str(pair.task),
                pair.backbone,
                label,
                f"{state.study.num_done}/{state.study.num_planned}",
                state.best_text,
            )
            table.add_row(*cells, style=styles[state.state])
        if len(rows) > shown:
            table.add_row(f"… and {len(rows) - shown} more", style="dim")
        return table


def make_progress(studies: list[PairStudy], stream: TextIO | None = None) -> Progress:
    """A live table if the stream is a terminal, else plain lines."""
    stream = stream or sys.stdout
    return (LiveProgress if stream.isatty() else PlainProgress)(studies, stream)
