"""`raybench rank`, from the start of the command to the table, against importing polars."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from raybench.core.records import Measurement
from raybench.store.measurements import write_measurements
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio

NUM_BACKBONES, NUM_TASKS = 12, 3


def measure(quick: bool) -> list[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        _fill(storage)
        raybench = str(Path(sys.executable).with_name("raybench"))
        output: dict[str, str] = {}

        def call(side: str, command: list[str]) -> None:
            environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
            output[side] = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            ).stdout

        spent = in_turn(
            {
                "rank": lambda: call("rank", [raybench, "rank", folder, "--format", "csv"]),
                "polars": lambda: call("polars", [sys.executable, "-c", "import polars"]),
                "python": lambda: call("python", [sys.executable, "-c", ""]),
            },
            rounds=5 if quick else 15,
        )
    in_order = [line.split(",")[1] for line in output["rank"].splitlines()[1:]]
    expected = [f"backbone-{i:02d}" for i in reversed(range(NUM_BACKBONES))]
    return [
        Ratio(
            name="start of `raybench rank`",
            ours=f"ranking of {NUM_BACKBONES} backbones on {NUM_TASKS} tasks, 2 seeds",
            theirs="`python -c 'import polars'`",
            target=3.0,
            measured=spent["rank"] / spent["polars"],
            gate="the ranking is as expected" if in_order == expected else f"another ranking: {in_order}",
            is_gate_passed=in_order == expected,
            note=f"{spent['rank']:.2f} s, {spent['polars']:.2f} s and, for Python alone, "
            f"{spent['python']:.2f} s of CPU.",
            numbers={f"{side}_cpu_seconds": value for side, value in spent.items()},
        )
    ]


def _fill(storage: Path) -> None:
    """Write a small storage: one Parquet file per final trial."""
    for backbone in range(NUM_BACKBONES):
        for task in range(NUM_TASKS):
            for seed in range(2):
                rows = [
                    Measurement(
                        experiment="benchmark",
                        backbone=f"backbone-{backbone:02d}",
                        task=f"linear_probe@dataset-{task}",
                        split="test",
                        metric=metric,
                        value=0.5 + 0.02 * backbone + 0.001 * task + 0.0001 * seed,
                        num_examples=1000,
                        seed=seed,
                    )
                    for metric in ("accuracy", "top5_accuracy", "mean_class_accuracy")
                ]
                write_measurements(storage, "benchmark", f"{backbone}-{task}-{seed}", rows, {})
