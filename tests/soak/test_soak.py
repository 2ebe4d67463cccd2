"""Long runs on real Ray, ledger and MLflow: `pytest -m soak -s tests/soak` prints what it measures.

RAYBENCH_SOAK=0.1 makes every run a tenth as long.
"""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from raybench.core.records import TrialRecord, metric_values
from raybench.experiment.reconcile import make_studies
from raybench.spec import ExperimentSpec, load_spec
from raybench.store import layout, ledger
from raybench.tracking import Tracker
from tests.benchmarks import noop_protocol
from tests.end_to_end.ray_nodes import environment

pytestmark = [pytest.mark.slow, pytest.mark.soak]

SCALE = float(os.environ.get("RAYBENCH_SOAK", "1"))
MAX_GROWTH = 1.25
"""Memory of the driver after 95 % of the trials over that after a third; the summary's figures come later."""
PROGRAM = """
import sys
from tests.benchmarks import noop_protocol
noop_protocol.register()
from raybench.cli import main
sys.exit(main(sys.argv[1:]))
"""


def write_spec(path: Path, num_backbones: int, num_trials: int) -> Path:
    names = ", ".join(f"mini_resnet.random{seed}" for seed in range(num_backbones))
    path.write_text(
        f"name: soak\nbackbones: [{names}]\ntasks: [noop@digits_10shot]\n"
        f"search: {{num_trials: {num_trials}}}\nbudget: thorough\nseeds: [0]\n"
    )
    return path


def resident_mib(pid: int) -> float:
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return int(fields["VmRSS"].split()[0]) / 1024


def run(spec: Path, storage: Path, output: Path) -> "subprocess.Popen[bytes]":
    variables = {
        "RAY_RUNTIME_ENV_HOOK": f"{noop_protocol.__name__}.with_noop",
        "PYTHONPATH": str(Path(__file__).parents[2]),  # Workers import the hook.
    }
    command = [sys.executable, "-c", PROGRAM, "run", str(spec), "--storage", str(storage), "--num-cpus", "2"]
    with output.open("wb") as file:
        return subprocess.Popen(command, stdout=file, env=environment() | variables)


def test_the_driver_of_many_trials_keeps_its_memory_and_resumes_at_once(tmp_path):
    num_pairs, num_trials = int(300 * SCALE), 6
    planned = num_pairs * (num_trials + 1)
    spec, storage = write_spec(tmp_path / "soak.yaml", num_pairs, num_trials), tmp_path / "storage"
    output = tmp_path / "output"
    driver = run(spec, storage, output)
    trials = layout.trials_dir(storage, "soak")
    samples: list[tuple[float, int, float]] = []
    while driver.poll() is None:
        done = len(list(trials.glob("*.json"))) if trials.is_dir() else 0
        samples.append((time.monotonic(), done, resident_mib(driver.pid)))
        time.sleep(1)
    assert driver.returncode == 0, output.read_text()[-2000:]
    _, _, third = next(sample for sample in samples if sample[1] >= planned / 3)
    late_memory = [memory for _, done, memory in samples if done <= 0.95 * planned][-1]
    at = {
        share: next(when for when, done, _ in samples if done >= share * planned)
        for share in (0.05, 0.33, 0.66, 0.95)
    }
    first_part = (at[0.33] - at[0.05]) / (0.28 * planned)
    last_part = (at[0.95] - at[0.66]) / (0.29 * planned)
    early, late = f"{1e3 * first_part:.0f} ms a trial early", f"{1e3 * last_part:.0f} late"
    print(f"\n{planned} trials of {num_pairs} pairs: {early}, {late}")
    most = max(resident for *_, resident in samples)
    memory = f"{third:.0f} MiB after a third, {late_memory:.0f} after 95 %, {most:.0f} in the summary"
    print(f"driver: {memory}")
    assert late_memory < MAX_GROWTH * third
    started = time.monotonic()
    assert run(spec, storage, output).wait() == 0
    assert "Nothing was left to run" in output.read_text()
    print(f"second run, nothing left: {time.monotonic() - started:.1f} s")


def completed(request) -> TrialRecord:
    value = 0.5 + request.index / 1000
    return replace(
        TrialRecord.of(request, "completed"),
        values=metric_values({"val/accuracy": value, "test/accuracy": value, "val/nll": 1.0}),
        chosen={"epoch": 1},
    )


@pytest.fixture
def spec(tmp_path) -> ExperimentSpec:
    noop_protocol.register()
    return load_spec(write_spec(tmp_path / "soak.yaml", max(2, int(100 * SCALE)), 99))


def test_a_ledger_of_ten_thousand_trials_is_read_in_seconds(spec, tmp_path):
    storage, num = tmp_path / "storage", 0
    for study in make_studies(spec, []):
        while (request := study.next_request()) is not None:
            record = completed(request)
            ledger.write_record(storage, record)
            study.complete(request, record)
            num += 1
    started = time.process_time()
    studies = make_studies(spec, ledger.read_records(storage, spec.name))
    print(f"\nledger of {num} trials read in {time.process_time() - started:.1f} s of CPU")
    assert all(study.is_finished for study in studies)
    assert sum(study.num_done for study in studies) == num


def test_five_thousand_runs_are_tracked(spec, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    storage, num = tmp_path / "storage", 0
    ledger.save_spec(storage, spec.name, spec.to_dict())
    tracker = Tracker(None, spec.name, storage)
    tracker.start()
    started = time.monotonic()
    for study in make_studies(spec, []):
        while (request := study.next_request()) is not None and num < 5000 * SCALE:
            record = completed(request)
            ledger.write_record(storage, record)
            study.complete(request, record)
            tracker.log(record)
            num += 1
    assert tracker.close(timeout=None) == []
    print(f"\n{num} runs tracked, {1e3 * (time.monotonic() - started) / num:.0f} ms each")
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(spec.name)
    runs, token = [], None
    while token != "":
        page = client.search_runs(
            [experiment.experiment_id], "tags.`raybench.kind` = 'trial'", max_results=1000, page_token=token
        )
        runs += page
        token = page.token or ""
    assert len(runs) == num
