"""Progress of an experiment: a live table in a terminal, plain lines in a job log."""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from raybench.core.records import Pair, TrialRecord, TrialRequest
from raybench.experiment.progress_text import Shards, aligned, clock_text
from raybench.metrics import METRICS
from raybench.tuning.study import PairStudy

if TYPE_CHECKING:
    from rich.console import Group

REFRESH_PER_SECOND = 4
NOTE = "note            "
"""Begins every note, as in the output of `plan`."""
MIN_ROWS = 5
MAX_SHARD_TEXTS = 3
"""Features stages that a line of a log describes."""
LINES_AROUND = 8
"""Lines of the terminal that the live table leaves free, for its title, its heading and earlier output."""
HEADINGS = ("task", "backbone", "state", "trials", "best on val")
STYLES = {"done": "green", "running": "bold cyan", "waiting": "dim", "failed": "bold red"}


@dataclass
class PairState:
    """One pair: a row of the live table. Its numbers are those of the last `update`."""

    study: PairStudy
    num_running: int = 0
    stage: str = ""
    shards: Shards | None = None
    """Of its features stage, where that has more than one trial."""
    state: str = field(init=False)
    num_done: int = field(init=False)
    num_planned: int = field(init=False)
    best_text: str = field(init=False)
    """Best objective on val so far: a percentage where it is a fraction; empty if there is none."""

    def __post_init__(self) -> None:
        self.update()

    def update(self) -> None:
        """Read the study."""
        self.state = self._state()
        self.num_done, self.num_planned = self.study.num_done, self.study.num_planned
        self.best_text = self._best_text()

    def _state(self) -> str:
        if self.study.failure is not None:
            return "failed"
        if self.study.is_finished:
            return "done"
        return "running" if self.num_running else "waiting"

    def _best_text(self) -> str:
        best = self._best()
        if best is None:
            return ""
        is_fraction = METRICS[self.study.plan.objective].bounds == (0.0, 1.0)
        return f"{best:.1%}" if is_fraction else f"{best:.4g}"

    def _best(self) -> float | None:
        """The objective on val of the best search trial; for a recipe, without search, of the first seed."""
        best = self.study.winner or self._first_final()
        return None if best is None else best.value_of("val", self.study.plan.objective)

    def _first_final(self) -> TrialRecord | None:
        records = [self.study.records.get(request.trial_id) for request in self.study.final_requests()]
        return next((record for record in records if record and record.status == "completed"), None)


@dataclass
class Progress:
    """State of all pairs; subclasses draw it. Every method is called from the driver's main thread.

    Totals are updated by the change of one pair, so the work per trial does not grow with the pairs.
    """

    studies: list[PairStudy]
    stream: TextIO = field(default_factory=lambda: sys.stdout)

    def __post_init__(self) -> None:
        self.states = {study.pair: PairState(study) for study in self.studies}
        self._counts = Counter(state.state for state in self.states.values())
        self._num_done = sum(state.num_done for state in self.states.values())
        self._num_planned = sum(state.num_planned for state in self.states.values())
        self._in_shards: dict[Pair, PairState] = {}
        """Pairs whose features stage runs in shards now."""
        self._started = time.monotonic()

    @property
    def elapsed(self) -> str:
        return clock_text(int(time.monotonic() - self._started))

    def summary(self) -> str:
        """Pairs by state, trials and elapsed time, in one line."""
        shown = ", ".join(f"{self._counts[name]} {name}" for name in ("done", "running", "waiting", "failed"))
        trials = f"{self._num_done}/{self._num_planned} trials"
        shards = [str(state.shards) for state in list(self._in_shards.values()) if state.shards]
        features = f" {'; '.join(shards[:MAX_SHARD_TEXTS])};" if shards else ""
        return f"{len(self.states)} pairs: {shown}; {trials};{features} {self.elapsed}"

    def _update(self, state: PairState) -> None:
        """Read the pair's study, and add the difference to the totals."""
        self._counts[state.state] -= 1
        self._num_done -= state.num_done
        self._num_planned -= state.num_planned
        state.update()
        self._counts[state.state] += 1
        self._num_done += state.num_done
        self._num_planned += state.num_planned

    def trial_started(self, request: TrialRequest) -> None:
        state = self.states[request.pair]
        state.num_running += 1
        state.stage = request.stage
        num_shards = int(request.hparams.get("num_shards", 1)) if request.stage == "features" else 1
        if num_shards > 1:
            state.shards = state.shards or Shards(num_shards)
            self._in_shards[request.pair] = state
        self._update(state)
        self.draw()

    def trial_ended(self, request: TrialRequest, record: TrialRecord) -> None:
        state = self.states[request.pair]
        state.num_running -= 1
        if state.shards is not None and request.stage == "features":
            state.shards.num_done += 1
            if state.shards.num_done == state.shards.num_total:
                state.shards = None
        if state.shards is None or not state.num_running:
            self._in_shards.pop(request.pair, None)
        self._update(state)
        self.draw()

    def pair_finished(self, pair: Pair) -> None:
        """Called once per pair, when it is done or has failed."""
        self._update(self.states[pair])

    def draw(self) -> None:
        """Show the current state."""

    def note(self, line: str) -> None:
        """Show a permanent line."""
        print(f"{NOTE}{line}", file=self.stream, flush=True)

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
        super().pair_finished(pair)
        state = self.states[pair]
        outcome = state.study.failure or f"best val {state.study.plan.objective} {state.best_text}"
        if state.study.is_converged:
            outcome += f", search converged after {state.study.num_search} trials"
        self._print(f"{state.state:7} {pair.task} · {pair.backbone}: {outcome} ({self.summary()})")

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        print(line, file=self.stream, flush=True)


class LiveProgress(Progress):
    """For terminals: a table that is redrawn in place, with the best value so far of every pair.

    A thread of rich's draws it REFRESH_PER_SECOND times a second, however many trials end. It reads `states`,
    whose keys never change.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self.stream)
        self._live = Live(
            console=self._console,
            get_renderable=self._table,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> "LiveProgress":
        self._live.start(refresh=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def note(self, line: str) -> None:
        # Otherwise rich takes names in square brackets for markup.
        self._console.print(f"{NOTE}{line}", markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> "Group":
        # One text per row: rich's Table takes 10 times as long, because it wraps and pads every cell.
        from rich.console import Group
        from rich.text import Text

        order = {"running": 0, "failed": 1, "waiting": 2, "done": 3}
        states = sorted(self.states.values(), key=lambda state: order[state.state])
        shown = states[: max(MIN_ROWS, self._console.height - LINES_AROUND)]
        lines = aligned([HEADINGS, *(_cells(state) for state in shown)], self._console.width)
        styles = ["bold", *(STYLES[state.state] for state in shown)]
        if len(states) > len(shown):
            lines.append(f"… and {len(states) - len(shown)} more")
            styles.append("dim")
        rows = [
            Text(line, style, no_wrap=True, overflow="ellipsis")
            for line, style in zip(lines, styles, strict=True)
        ]
        return Group(Text(self.summary(), "italic"), *rows)


def _cells(state: PairState) -> tuple[str, ...]:
    pair, label = state.study.pair, state.state
    return (
        str(pair.task),
        pair.backbone,
        f"{label} ({state.shards or state.stage})" if label == "running" else label,
        f"{state.num_done}/{state.num_planned}",
        state.best_text,
    )


def make_progress(studies: list[PairStudy], stream: TextIO | None = None) -> Progress:
    """A live table if the stream is a terminal, else plain lines."""
    stream = stream or sys.stdout
    return (LiveProgress if stream.isatty() else PlainProgress)(studies, stream)
