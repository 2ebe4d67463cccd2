"""Cost of a trial that does nothing: raybench with tracking, Tune's default, Tune with reused actors."""

import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.process_tree import run_and_watch
from tests.benchmarks.ratio import Ratio

SIDES = ("raybench", "untracked", "reused", "default")


@dataclass(frozen=True)
class PerTrial:
    """Seconds per trial, without the first few."""

    cpu: float
    wall: float
    outcome: str


def measure(quick: bool) -> list[Ratio]:
    """Measure every side in its own processes, so that no side profits from imports of another."""
    num_trials, rounds = (30, 1) if quick else (110, 3)
    results: dict[str, list[PerTrial]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            results[side].append(_measure_side(side, num_trials if side != "default" else num_trials // 10))
    cpu = {side: statistics.median(r.cpu for r in measured) for side, measured in results.items()}
    wall = {side: statistics.median(r.wall for r in measured) for side, measured in results.items()}
    common = {
        "ours": "no-op trials through `tune_experiment`, ledger and MLflow, backlog included",
        "gate": results["raybench"][-1].outcome,
        "is_gate_passed": all("all trials" in r.outcome for measured in results.values() for r in measured),
        "numbers": {
            **{f"{side}_cpu_seconds_per_trial": value for side, value in cpu.items()},
            **{f"{side}_wall_seconds_per_trial": value for side, value in wall.items()},
        },
    }
    summary = ", ".join(f"{side} {1000 * cpu[side]:.0f} ({1000 * wall[side]:.0f})" for side in SIDES)
    return [
        Ratio(
            name="per-trial overhead, to Tune's default",
            theirs="Tune's default function trainable",
            target=1 / 15,
            measured=cpu["raybench"] / cpu["default"],
            note=f"ms of CPU of all processes per trial (wall on two slots in brackets): {summary}. By wall: "
            f"{wall['raybench'] / wall['default']:.3f}.",
            **common,
        ),
        Ratio(
            name="per-trial overhead, to bare Tune",
            theirs="bare Tune, class trainable, reused actors, no loggers",
            target=1.25,
            measured=cpu["raybench"] / cpu["reused"],
            note=f"Without tracking {cpu['untracked'] / cpu['reused']:.2f}×; by wall "
            f"{wall['raybench'] / wall['reused']:.2f}× with tracking and "
            f"{wall['untracked'] / wall['reused']:.2f}× without.",
            **common,
        ),
    ]


def _measure_side(side: str, num_trials: int) -> PerTrial:
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])  # Workers import the no-op protocol.
    command = [sys.executable, "-m", "tests.benchmarks.noop_trials", side, str(num_trials)]
    timeline = run_and_watch(command, environment=environment, timeout=200)
    marks = {
        words[1]: float(words[2])
        for line in timeline.output.splitlines()
        if len(words := line.split()) == 3 and words[0] == "mark"
    }
    outcome = next((x for x in timeline.output.splitlines() if "all trials" in x), "trials are missing")
    cpu = timeline.cpu_at(marks["drained"]) - timeline.cpu_at(marks["begin"])
    return PerTrial(cpu / num_trials, (marks["end"] - marks["begin"]) / num_trials, outcome)
