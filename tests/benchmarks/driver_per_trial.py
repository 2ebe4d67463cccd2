"""Driver's CPU per trial as trials and pairs grow: `python -m tests.benchmarks.driver_per_trial 100 100`.

Real studies, searcher, listener, progress display and ledger files; no Ray, no tracking, and trials that end
at once. Tune's own cost per trial is not in it (see `trial_overhead`). Each size runs in its own process.
"""

import gc
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from raybench.catalog.search_spaces import Float
from raybench.core.records import Pair, Task, TrialRecord, TrialRequest, metric_values
from raybench.experiment.progress import LiveProgress, PlainProgress, Progress
from raybench.experiment.reconcile import final_record, reopen, withdraw_superseded
from raybench.store import ledger
from raybench.tuning.job import TrialListener
from raybench.tuning.searcher import ExperimentSearcher
from raybench.tuning.study import PairStudy, StudyPlan
from tests.benchmarks.ratio import Ratio

EXPERIMENT = "scale"
NUM_TASKS = 10
SLOTS = 100
"""Trials that run at once."""
NUM_REDRAWS = 20
SMALL, LARGE = (10, 100), (100, 100)
"""(pairs, trials per pair)."""
CPU_TARGET = 1.2
REDRAW_TARGET_MILLISECONDS = 10.0
TIMEOUT_SECONDS = 300


class Terminal(io.StringIO):
    """Output that claims to be a terminal, so that the live table is drawn, and keeps nothing."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


class _Listener(TrialListener):
    """Does what `experiment.run` does per trial, without tracking."""

    def __init__(self, storage: Path, progress: Progress) -> None:
        self._storage, self._progress = storage, progress
        self.num_ended = 0

    def on_start(self, request: TrialRequest) -> None:
        reopen(self._storage, request)
        self._progress.trial_started(request)

    def collect(self, request: TrialRequest, reason: str | None) -> TrialRecord:
        return final_record(self._storage, request, reason)

    def on_end(self, study: PairStudy, request: TrialRequest, record: TrialRecord) -> None:
        self.num_ended += 1
        self._progress.trial_ended(request, record)
        withdraw_superseded(self._storage, study)
        if study.is_finished:
            self._progress.pair_finished(study.pair)


def make_plans(num_pairs: int, trials_per_pair: int) -> list[tuple[Pair, StudyPlan]]:
    """Pairs over `NUM_TASKS` tasks, each with a search over one range and one final trial."""
    plan = StudyPlan(
        experiment=EXPERIMENT,
        space={"lr": Float(low=1e-4, high=1e-1, log=True, default=1e-3)},
        objective="accuracy",
        sampler="qmc",
        num_trials=trials_per_pair - 1,
        search_seed=0,
        seeds=(0,),
        max_epochs=1,
        needs_features=False,
    )
    tasks = [Task("linear_probe", f"dataset{i}") for i in range(NUM_TASKS)]
    return [
        (Pair(backbone=f"backbone{i // NUM_TASKS}", task=tasks[i % NUM_TASKS]), plan)
        for i in range(num_pairs)
    ]


def _write_as_worker(storage: Path, request: TrialRequest) -> None:
    values = {"val/accuracy": 0.5 + random.Random(request.trial_id).random() / 2}
    if request.stage == "final":
        values["test/accuracy"] = 0.5
    record = TrialRecord.of(request, "completed")
    ledger.write_record(storage, replace(record, values=metric_values(values), wall_seconds=1.0))


def simulate(num_pairs: int, trials_per_pair: int, *, is_terminal: bool) -> dict[str, float]:
    """Run all trials; CPU seconds of the driver, of a redraw and of a resume, and peak memory in MiB."""
    plans = make_plans(num_pairs, trials_per_pair)
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        before = time.process_time()
        studies = [PairStudy(pair, plan) for pair, plan in plans]
        planning = time.process_time() - before
        progress = LiveProgress(studies, Terminal()) if is_terminal else PlainProgress(studies, io.StringIO())
        with progress:
            cpu, num_trials = _run(storage, studies, progress)
        memory = _peak_mebibytes()
        redraw = _redraw_seconds(studies)
        before, started = time.process_time(), time.monotonic()
        is_finished = _is_finished_after_reading(storage, plans)
        resume_cpu, resume_wall = time.process_time() - before, time.monotonic() - started
    return {
        "num_trials": num_trials,
        "is_complete": is_finished and num_trials == num_pairs * trials_per_pair,
        "planning_seconds": planning,
        "milliseconds_per_trial": 1000 * cpu / num_trials,
        "redraw_milliseconds": 1000 * redraw,
        "resume_cpu_seconds": resume_cpu,
        "resume_wall_seconds": resume_wall,
        "peak_mebibytes": memory,
    }


def _run(storage: Path, studies: list[PairStudy], progress: Progress) -> tuple[float, int]:
    """CPU seconds of the driver, without those of writing records as workers do; and the trials run."""
    listener = _Listener(storage, progress)
    requests: list[TrialRequest] = []

    def make_config(request: TrialRequest) -> dict[str, Any]:
        requests.append(request)
        return {"request": request}

    searcher = ExperimentSearcher(studies, listener, make_config=make_config, num_slots=lambda: SLOTS)
    running: list[str] = []
    rng = random.Random(0)
    spent, number = 0.0, 0
    gc.collect()
    while True:
        before = time.process_time()
        config = searcher.suggest(f"trial{number}")
        spent += time.process_time() - before
        if isinstance(config, dict):
            _write_as_worker(storage, requests[-1])
            running.append(f"trial{number}")
            number += 1
            continue
        if not running:
            return spent, listener.num_ended
        position = rng.randrange(len(running))
        running[position], running[-1] = running[-1], running[position]
        before = time.process_time()
        searcher.on_trial_complete(running.pop(), result={"done": True})
        spent += time.process_time() - before


def _peak_mebibytes() -> float:
    """Peak resident memory of this process. `getrusage` would give its parent's, if that is larger."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _redraw_seconds(studies: list[PairStudy]) -> float:
    """CPU seconds of drawing the live table once, with all pairs in it."""
    progress = LiveProgress(studies, Terminal())
    with progress:
        before = time.process_time()
        for _ in range(NUM_REDRAWS):
            progress._live.refresh()
        return (time.process_time() - before) / NUM_REDRAWS


def _is_finished_after_reading(storage: Path, plans: list[tuple[Pair, StudyPlan]]) -> bool:
    """Read the ledger as a resumed run does, and rebuild the studies."""
    by_pair: dict[Pair, dict[str, TrialRecord]] = {pair: {} for pair, _ in plans}
    for record in ledger.read_records(storage, EXPERIMENT):
        by_pair[record.pair][record.trial_id] = record
    return all(PairStudy(pair, plan, by_pair[pair]).is_finished for pair, plan in plans)


def measure(quick: bool) -> list[Ratio]:
    """Measure the small and the large study in turn, each in its own processes."""
    sizes = ((10, 10), (30, 10)) if quick else (SMALL, LARGE)
    results: dict[tuple[int, int], list[dict[str, float]]] = {size: [] for size in sizes}
    for _ in range(1 if quick else 3):
        for size in sizes:
            results[size].append(_in_own_process(*size))

    def median(size: tuple[int, int], name: str) -> float:
        return statistics.median(result[name] for result in results[size])

    small, large = sizes
    num_trials = [pairs * trials for pairs, trials in sizes]
    is_complete = all(result["is_complete"] for of_size in results.values() for result in of_size)
    common = {
        "gate": "every trial is in the ledger, and a resumed run has nothing left to do",
        "is_gate_passed": is_complete,
        "numbers": {
            f"{name}_{pairs}_pairs": median((pairs, trials), name)
            for pairs, trials in sizes
            for name in (
                "milliseconds_per_trial",
                "redraw_milliseconds",
                "resume_cpu_seconds",
                "peak_mebibytes",
            )
        },
    }
    return [
        Ratio(
            name="driver's CPU per trial, many trials to few",
            ours=f"{num_trials[1]:,} trials over {large[0]} pairs, live table on, without Ray and tracking",
            theirs=f"{num_trials[0]:,} trials over {small[0]} pairs",
            target=CPU_TARGET,
            measured=median(large, "milliseconds_per_trial") / median(small, "milliseconds_per_trial"),
            note=f"{median(large, 'milliseconds_per_trial'):.3f} and "
            f"{median(small, 'milliseconds_per_trial'):.3f} ms of the driver's CPU per trial; peak memory "
            f"{median(large, 'peak_mebibytes'):.0f} and {median(small, 'peak_mebibytes'):.0f} MiB; a resume "
            f"reads and checks all records in {median(large, 'resume_cpu_seconds'):.1f} s.",
            **common,
        ),
        Ratio(
            name="redraw of the live table, to 10 ms",
            ours=f"{large[0]} pairs, a terminal of 25 lines",
            theirs="10 ms",
            target=1.0,
            measured=median(large, "redraw_milliseconds") / REDRAW_TARGET_MILLISECONDS,
            note=f"{median(large, 'redraw_milliseconds'):.2f} ms, at most four times a second.",
            **common,
        ),
    ]


def _in_own_process(num_pairs: int, trials_per_pair: int) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.driver_per_trial",
        f"{num_pairs}",
        f"{trials_per_pair}",
    ]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=root, timeout=TIMEOUT_SECONDS
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    kind = sys.argv[3] if len(sys.argv) > 3 else "terminal"
    print(json.dumps(simulate(int(sys.argv[1]), int(sys.argv[2]), is_terminal=kind == "terminal")))
