"""Trial records as a run writes them, and an MLflow database that is created once per session."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from raybench.core.records import CurvePoint, Pair, Task, TrialRecord, TrialRequest, metric_values
from raybench.store import ledger
from raybench.tracking import rebuild

EXPERIMENT = "demo"
TASK = "linear_probe@digits"

RecordFactory = Callable[..., TrialRecord]


def make_record(
    backbone: str = "mini_vit.supervised", stage: str = "search", index: int = 0, **changes: Any
) -> TrialRecord:
    """A completed trial; search trial i reaches 0.5 + i/100 on val, final seed s 0.8 + s/100 on test."""
    seed = index if stage == "final" else 0
    hparams = {"batch_size": 64, "solver": "sgd" if stage == "final" else f"solver-{index}"}
    pair = Pair(backbone=backbone, task=Task.parse(TASK))
    request = TrialRequest(
        experiment=EXPERIMENT, pair=pair, stage=stage, index=index, hparams=hparams, seed=seed, max_epochs=3
    )
    metrics = {"val/accuracy": 0.5 + index / 100}
    if stage == "final":
        metrics["test/accuracy"] = 0.8 + seed / 100
    content: dict[str, Any] = {
        "trial_id": request.trial_id,
        "experiment": EXPERIMENT,
        "pair": pair,
        "stage": stage,
        "index": index,
        "hparams": hparams,
        "seed": seed,
        "status": "completed",
        "values": metric_values(metrics),
        "chosen": {"lr": 0.1, "epoch": 2},
        "curve": tuple(CurvePoint(epoch=epoch, metrics={"accuracy": epoch / 10}) for epoch in (1, 2, 3)),
        "grid": ({"lr": 0.1, "val/accuracy": 0.5}, {"lr": 1.0, "val/accuracy": 0.4}),
        "provenance": {"dataset_fingerprint": "f1"} if stage == "final" else {},
        "wall_seconds": 2.0,
        "started_at": 1_700_000_000.0 + index,
    }
    return TrialRecord(**{**content, **changes})


def a_pair_of_records(backbone: str, num_search: int = 2, num_seeds: int = 2) -> list[TrialRecord]:
    search = [make_record(backbone, "search", index) for index in range(num_search)]
    return [*search, *(make_record(backbone, "final", seed) for seed in range(num_seeds))]


class VisibleRun(NamedTuple):
    """Everything that MLflow's UI shows of a run, except ids and run times."""

    name: str
    status: str
    end_time: int
    tags: dict[str, str]
    """With the parent's key as `parent`."""
    params: dict[str, str]
    metrics: dict[str, list[tuple[int, float]]]
    """Metric → its (step, value) points."""
    files: list[str]
    datasets: list[tuple[str, str, str]]
    """(Name, digest, context) of every split that the run has read, sorted."""


def visible_runs(client: Any) -> dict[str, VisibleRun]:
    """Runs of the experiment by key."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    names = {run.info.run_id: run.data.tags["raybench.key"] for run in runs}
    assert len(set(names.values())) == len(names), "a run exists twice"
    visible = {}
    for run in runs:
        tags = dict(run.data.tags)
        if parent := tags.pop("mlflow.parentRunId", None):
            tags["parent"] = names[parent]
        histories = {
            key: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        datasets = sorted(
            (used.dataset.name, used.dataset.digest, *(tag.value for tag in used.tags))
            for used in run.inputs.dataset_inputs
        )
        visible[names[run.info.run_id]] = VisibleRun(
            name=run.info.run_name,
            status=run.info.status,
            end_time=run.info.end_time,
            tags=tags,
            params=run.data.params,
            metrics=histories,
            files=files,
            datasets=datasets,
        )
    return visible


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and no runs; creating one takes seconds."""
    storage = tmp_path_factory.mktemp("empty")
    rebuild(storage, EXPERIMENT, f"sqlite:///{storage / 'mlflow.db'}")
    return storage / "mlflow.db"


@pytest.fixture
def storage(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage with an empty ledger and an MLflow database without runs."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    rows = [{"name": "mini_vit.supervised", "family": "transformer", "method": "supervised"}]
    digits = {"name": "digits", "source": {"kind": "function", "location": "digits"}}
    spec = {"name": EXPERIMENT, "backbones": rows, "tasks": [TASK], "datasets": {"digits": digits}}
    ledger.save_spec(tmp_path, EXPERIMENT, spec)
    ledger.pin(tmp_path, EXPERIMENT, "dataset", "digits", "f1")
    return tmp_path


@pytest.fixture
def client(storage: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")


@pytest.fixture
def record() -> RecordFactory:
    return make_record


@pytest.fixture
def pair_records() -> Callable[..., list[TrialRecord]]:
    return a_pair_of_records


@pytest.fixture
def read_runs() -> Callable[[Any], dict[str, VisibleRun]]:
    return visible_runs
