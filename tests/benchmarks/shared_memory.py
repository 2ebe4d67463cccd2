"""Memory (PSS) of eight processes with a trial each on the same stored features, against one."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from raybench.backbones.loading import load_backbone
from raybench.features.store import FeatureStore
from tests.benchmarks.ratio import Ratio
from tests.benchmarks.synthetic import INFO, large_dataset

NUM_FEATURES = 512
"""Of resnet18."""
NUM_TRIALS = 8
ALLOWED_GIB = 1.3
PROTOCOLS = ("linear_probe", "knn")


def measure(quick: bool) -> list[Ratio]:
    """Compare by PSS, which counts a page shared by k processes as 1/k in each: sums are the real total."""
    gibibytes = 1 / 16 if quick else 1.0
    num_examples = int(gibibytes * 2**30 / (4 * NUM_FEATURES))
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), num_examples)
        return [_compare(protocol, folder, num_examples, gibibytes) for protocol in PROTOCOLS]


def _compare(protocol: str, folder: str, num_examples: int, gibibytes: float) -> Ratio:
    one, eight = (_hold(protocol, folder, num_examples, count) for count in (1, NUM_TRIALS))
    more = (eight["pss"] - one["pss"]) / 2**30
    mapped = eight["mapped_pss_at_end"] / 2**30
    accuracies = set(one["accuracies"] + eight["accuracies"])
    # Without the features: eight interpreters with torch.
    rest = (eight["pss_at_end"] - eight["mapped_pss_at_end"]) / NUM_TRIALS / 2**30
    return Ratio(
        name=f"{NUM_TRIALS} trials of `{protocol}` on one node",
        ours=f"PSS of {NUM_TRIALS} processes less that of one, in units of {ALLOWED_GIB * gibibytes:.3g} GiB",
        theirs=f"{gibibytes:.3g} GiB of features",
        target=1.0,
        measured=more / (ALLOWED_GIB * gibibytes),
        gate=f"val accuracy of all: {sorted(accuracies)}",
        is_gate_passed=len(accuracies) == 1,
        note=f"Highest sum of PSS while they ran, beyond one: {more:.2f} GiB. At the end, "
        f"features count {mapped:.2f} GiB for all together, a process {rest:.2f} GiB of its own (Python, "
        f"torch). RSS, counting shared pages {NUM_TRIALS} times, sums to {eight['rss'] / 2**30:.1f} GiB.",
        numbers={"one": one, "eight": eight},
    )


def _fill(root: Path, num_examples: int) -> None:
    """Features as the store writes them, without the days that a backbone would take."""
    store, dataset = FeatureStore(root), large_dataset(num_examples)
    load_backbone(INFO)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        examples = dataset.split(split)
        chosen = (examples.targets[start : start + 4096] for start in range(0, len(examples), 4096))
        rows = (
            t[:, None] + rng.standard_normal((len(t), NUM_FEATURES), dtype=np.float32) * 9 for t in chosen
        )
        key = store.key(INFO, dataset, split)
        shape = (len(examples), NUM_FEATURES)
        store._write(key, rows, shape, examples.targets, examples.ids, {"backbone": INFO.name})


def _hold(protocol: str, folder: str, num_examples: int, count: int) -> dict:
    """Start `count` trials, sample their memory until all have trained, then end them."""
    command = [sys.executable, "-m", "tests.benchmarks.held_trial", protocol, folder, str(num_examples)]
    root = Path(__file__).parents[2]
    highest = {"pss": 0.0, "rss": 0.0}
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(count)]
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, cwd=root))
            for file in outputs
        ]  # Leaving the stack closes their input, which ends them.
        while not all(os.fstat(file.fileno()).st_size for file in outputs):
            time.sleep(0.2)
            if any(process.poll() for process in processes):
                raise RuntimeError("a trial has failed: see its error above")
            sums = [_memory(process.pid) for process in processes]
            for kind in highest:
                highest[kind] = max(highest[kind], sum(memory[kind] for memory in sums))
        mapped = sum(_mapped_features(process.pid) for process in processes)
        at_end = sum(_memory(process.pid)["pss"] for process in processes)
        accuracies = []
        for file in outputs:
            file.seek(0)
            accuracies.append(json.load(file)["accuracy"])
    return {**highest, "pss_at_end": at_end, "mapped_pss_at_end": mapped, "accuracies": accuracies}


def _memory(pid: int) -> dict[str, float]:
    """Proportional and resident set size of a process, bytes."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return {"pss": 0.0, "rss": 0.0}
    fields = {line.split(":")[0]: line.split()[1] for line in rollup.splitlines()[1:]}
    return {"pss": 1024 * float(fields["Pss"]), "rss": 1024 * float(fields["Rss"])}


def _mapped_features(pid: int) -> float:
    """Proportional set size of the feature store's files in a process, bytes."""
    total, is_features = 0.0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            is_features = line.endswith("features.npy")
        elif first == "Pss:" and is_features:
            total += 1024 * float(line.split()[1])
    return total
