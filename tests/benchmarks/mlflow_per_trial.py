"""Tracking one trial (30 metrics, 15 parameters) in MLflow, against one raw `log_batch` of the same size."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raybench.core.records import Pair, Task, TrialRecord, TrialRequest
from raybench.store import ledger
from raybench.tracking import Tracker
from tests.benchmarks.clock import cpu_seconds
from tests.benchmarks.ratio import Ratio

NUM_METRICS, NUM_PARAMS = 30, 15
EXPERIMENT = "benchmark"


def measure(quick: bool) -> list[Ratio]:
    num_trials, rounds = (10, 2) if quick else (40, 5)
    spent: dict[str, list[float]] = {"ours": [], "batch": [], "run": []}
    calls: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        storage, raw = Path(folder, "storage"), Path(folder, "raw")
        raw.mkdir()
        tracker = Tracker(None, EXPERIMENT, storage)
        tracker.start()
        client, experiment_id = _raw_client(raw)
        before_rounds = _records(-1, num_trials)
        _ours(tracker, storage, before_rounds, calls)
        _raw(client, experiment_id, num_trials, is_whole_run=True)
        calls.clear()
        for index in range(rounds):
            records = _records(index, num_trials)
            for record in records:
                ledger.write_record(storage, record)
            spent["ours"].append(_timed(lambda r=records: _ours(tracker, storage, r, calls)) / num_trials)
            run_ids = [_create(client, experiment_id, i) for i in range(num_trials)]
            spent["batch"].append(_timed(lambda ids=run_ids: [_batch(client, i) for i in ids]) / num_trials)
            spent["run"].append(
                _timed(lambda: _raw(client, experiment_id, num_trials, is_whole_run=True)) / num_trials
            )
        unsent = tracker.close(timeout=None)
        num_expected = num_trials * (rounds + 1)
        num_complete = _count_complete(storage / "mlflow.db")
    median = {side: sorted(values)[len(values) // 2] for side, values in spent.items()}
    slowest = max(calls)
    is_complete = num_complete == num_expected and not unsent
    return [
        Ratio(
            name="MLflow per trial",
            ours="`Tracker`: run under its pair's, 30 metrics, 15 parameters, tags, status",
            theirs="one raw `log_batch` of 30 metrics and 15 parameters on a run that exists",
            target=1.5,
            measured=median["ours"] / median["batch"],
            gate=f"{num_complete} of {num_expected} runs complete in MLflow",
            is_gate_passed=is_complete,
            note=f"{1000 * median['ours']:.0f} and {1000 * median['batch']:.0f} ms of CPU/trial; a raw run "
            f"(create, one `log_batch`, terminate, no tags) takes {1000 * median['run']:.0f} ms, "
            f"{median['ours'] / median['run']:.2f}× of which is ours. On the critical path: "
            f"{1e6 * slowest:.0f} µs at most, `Tracker.log` only queues an id.",
            numbers={
                **{f"{side}_cpu_seconds": value for side, value in median.items()},
                "slowest_call_on_the_critical_path_seconds": slowest,
                "ratio_to_a_raw_run": median["ours"] / median["run"],
            },
        )
    ]


def _timed(action: Callable[[], object]) -> float:
    before = cpu_seconds()
    action()
    return cpu_seconds() - before


def _records(round_index: int, num_trials: int) -> list[TrialRecord]:
    pair = Pair(backbone="b", task=Task("linear_probe", "digits"))
    records = []
    for i in range(num_trials):
        hparams = {f"h{p}": p + 0.5 for p in range(NUM_PARAMS)}
        request = TrialRequest(
            experiment=EXPERIMENT,
            pair=pair,
            stage="search",
            index=(round_index + 1) * num_trials + i,
            hparams=hparams,
            seed=0,
            max_epochs=1,
        )
        # The tracker adds `wall_seconds`, which makes NUM_METRICS.
        metrics = {f"val/metric_{m}": 0.01 * m for m in range(NUM_METRICS - 1)}
        blank = TrialRecord.of(request, "failed").as_dict()
        times = {"wall_seconds": 1.0, "started_at": time.time()}
        records.append(TrialRecord(**{**blank, "status": "completed", "metrics": metrics, **times}))
    return records


def _ours(tracker: Tracker, storage: Path, records: list[TrialRecord], calls: list[float]) -> None:
    """Log all records and wait until they are in MLflow."""
    for record in records:
        if ledger.read_record(storage, EXPERIMENT, record.trial_id) is None:
            ledger.write_record(storage, record)
        before = time.perf_counter()
        tracker.log(record)
        calls.append(time.perf_counter() - before)
    while tracker.state.num_waiting:
        time.sleep(0.01)


def _raw_client(folder: Path) -> tuple[Any, str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    return client, client.create_experiment("raw", artifact_location=folder.as_uri())


def _create(client: Any, experiment_id: str, index: int) -> str:
    return client.create_run(experiment_id, run_name=f"raw-{index}").info.run_id


def _batch(client: Any, run_id: str) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    metrics = [Metric(f"val/metric_{m}", 0.01 * m, now, 0) for m in range(NUM_METRICS)]
    client.log_batch(run_id, metrics=metrics, params=[Param(f"h{p}", str(p)) for p in range(NUM_PARAMS)])


def _raw(client: Any, experiment_id: str, num_trials: int, *, is_whole_run: bool) -> None:
    for index in range(num_trials):
        run_id = _create(client, experiment_id, index)
        _batch(client, run_id)
        if is_whole_run:
            client.set_terminated(run_id)


def _count_complete(database: Path) -> int:
    """Number of finished trial runs with all metrics and parameters."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id], "tags.`raybench.kind` = 'trial'", max_results=5000)
    return sum(
        run.info.status == "FINISHED"
        and len(run.data.metrics) == NUM_METRICS
        and len(run.data.params) == NUM_PARAMS
        for run in runs
    )
