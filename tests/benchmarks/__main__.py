"""`python -m tests.benchmarks [--quick] [--only NAME ...]`: print a table of ratios and write it as JSON.

A missed target is a line in the table, not an error. The exit code is 1 if a row could not be measured.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ROWS = {
    "extraction": ("extraction", "measure"),
    "extraction-jpeg": ("extraction", "measure_jpeg"),
    "decoding": ("decoding", "measure"),
    "second-run": ("second_run", "measure"),
    "packed-heads": ("packed_heads", "measure"),
    "halved-heads": ("halved_heads", "measure"),
    "ridge-path": ("ridge_path", "measure"),
    "logistic-path": ("logistic_path", "measure"),
    "trial-overhead": ("trial_overhead", "measure"),
    "driver": ("driver_per_trial", "measure"),
    "mlflow": ("mlflow_per_trial", "measure"),
    "rank": ("rank_start", "measure"),
    "shared-memory": ("shared_memory", "measure"),
    "attacks": ("attacks", "measure"),
    "retrieval": ("bench_retrieval", "measure"),
}
"""Name → module and function; each returns the ratios of its row."""
VERSIONS = ("torch", "timm", "ray", "mlflow", "polars", "scikit-learn", "numpy")


def main() -> int:
    """Measure, print and write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, help="only this row (repeatable)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that the benchmarks work")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), help="where to write")
    arguments = parser.parse_args()
    # The libraries read these variables when they load, also in child processes.
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    import torch

    torch.set_num_threads(1)
    from tests.benchmarks.ratio import markdown

    ratios, failed = [], []
    for name in arguments.only or ROWS:
        module, function = ROWS[name]
        started = time.monotonic()
        try:
            row = getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)(arguments.quick)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        ratios += row
        summary = "; ".join(f"{r.name}: {r.measured:.3g} (≤ {r.target:.3g}) {r.verdict}" for r in row)
        print(f"[{time.monotonic() - started:4.0f} s] {summary}", file=sys.stderr, flush=True)
    content = {
        **_environment(arguments.quick),
        "not_measured": failed,
        "rows": [r.as_dict() for r in ratios],
    }
    arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(markdown(ratios))
    print(f"\nwritten to {arguments.json}")
    if failed:
        print(f"not measured (see the errors above): {', '.join(failed)}")
    return 1 if failed else 0


def _environment(is_quick: bool) -> dict[str, object]:
    """Machine, load and versions, which the numbers depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "is_quick": is_quick,
        "processor": model,
        "num_cpus": os.cpu_count(),
        "load_average_at_the_end": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in VERSIONS},
    }


if __name__ == "__main__":
    sys.exit(main())
