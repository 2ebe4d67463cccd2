"""`raybench run` twice on one storage: the second run has nothing to do."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from raybench.features.store import FeatureStore
from tests.benchmarks.process_tree import run_and_watch
from tests.benchmarks.ratio import Ratio

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
SMALL = """
name: benchmark
backbones: [mini_resnet.supervised, mini_resnet.random]
tasks: [knn@digits]
search: {sampler: qmc, num_trials: 2, early_stopping: none}
budget: quick
seeds: [0]
"""


def measure(quick: bool) -> list[Ratio]:
    """Measure the first run once and the second one five times, from the command to the ranking."""
    raybench = str(Path(sys.executable).with_name("raybench"))
    environment = {
        key: os.environ[key] for key in os.environ if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    }
    with tempfile.TemporaryDirectory() as folder:
        spec, storage = Path(folder, "small.yaml"), Path(folder, "storage")
        spec.write_text(SMALL)
        command = [raybench, "run", str(spec if quick else QUICKSTART), "--storage", str(storage)]

        def ranking() -> str:
            rank = [raybench, "rank", str(storage), "--format", "json"]
            return subprocess.run(rank, check=True, capture_output=True, text=True).stdout

        first = run_and_watch(command, environment=environment, timeout=900)
        table, features = ranking(), _written(storage)
        again = [run_and_watch(command, environment=environment, timeout=120) for _ in range(5)]
        is_same = ranking() == table and _written(storage) == features and bool(features)
    second = statistics.median(timeline.cpu_total for timeline in again)
    seconds = {
        "first_cpu_seconds": first.cpu_total,
        "second_cpu_seconds": second,
        "first_wall_seconds": first.times[-1] - first.times[0],
        "second_wall_seconds": statistics.median(t.times[-1] - t.times[0] for t in again),
    }
    return [
        Ratio(
            name="second run on warm storage",
            ours=f"`raybench run {'small.yaml' if quick else 'experiments/quickstart.yaml'}` again",
            theirs="its first run",
            target=0.02,
            measured=second / first.cpu_total,
            gate=f"same ranking, {len(features)} feature sets untouched, no forward pass"
            if is_same
            else "ranking or feature sets changed",
            is_gate_passed=is_same,
            note=f"{second:.2f} of {first.cpu_total:.0f} s of CPU, all of it start-up: the ledger says that "
            "nothing is left to do, so neither Ray nor torch is loaded.",
            numbers=seconds,
        )
    ]


def _written(storage: Path) -> dict[str, int]:
    """Feature set → time of writing, nanoseconds."""
    root = storage / "features"
    return {e.key: (root / e.key / "manifest.json").stat().st_mtime_ns for e in FeatureStore(root).entries()}
