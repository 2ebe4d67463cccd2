"""A real `mlflow server` on loopback, killed and restarted while trials arrive."""

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from raybench.core.errors import TrackingError
from raybench.store import ledger
from raybench.tracking import Tracker, rebuild
from raybench.tracking.shared_view import table_address
from raybench.tracking.ui import start_server, stop_server, table_addresses
from tests.processes import DEADLINE_SECONDS, free_port, wait_until

EXPERIMENT = "demo"


def is_healthy(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


@pytest.fixture
def server(storage: Path):
    """(URI, start, stop) of a server with its own database and artifact folder."""
    port = free_port()
    running = []

    def start():
        running.append(start_server(f"sqlite:///{storage / 'mlflow.db'}", storage / "served", port))
        wait_until(lambda: is_healthy(port), "the MLflow server answers")

    def stop():
        while running:
            stop_server(running.pop())

    yield f"http://127.0.0.1:{port}", start, stop
    stop()


def shown_datasets(uri: str, experiment_id: str) -> set[str]:
    """Contexts of the datasets among which MLflow's UI lets a person filter runs."""
    request = urllib.request.Request(
        f"{uri}/ajax-api/2.0/mlflow/experiments/search-datasets",
        json.dumps({"experiment_ids": [experiment_id]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        summaries = json.loads(response.read())["dataset_summaries"]
    assert {summary["name"] for summary in summaries} == {"digits"}
    return {summary["context"] for summary in summaries}


@pytest.mark.slow
def test_after_a_server_was_killed_and_restarted_every_run_exists_once(
    storage, server, pair_records, read_runs
):
    from mlflow.tracking import MlflowClient

    uri, start, stop = server
    records = pair_records("mini_vit.supervised", num_search=12, num_seeds=2)
    start()
    tracker = Tracker(uri, EXPERIMENT, storage)
    tracker.start()
    for position, record in enumerate(records):
        ledger.write_record(storage, record)
        tracker.log(record)
        if position == 4:
            stop()  # While the thread sends the first trials.
    wait_until(lambda: tracker.state.problem, "the tracker notices that the server is gone")
    assert "refused" in tracker.state.problem or "Connection" in tracker.state.problem
    assert tracker.state.num_waiting > 0
    start()
    assert tracker.close(timeout=DEADLINE_SECONDS) == []
    runs = read_runs(MlflowClient(uri))
    assert set(runs) == {record.trial_id for record in records} | {runs[records[0].trial_id].tags["parent"]}
    assert all(run.status == "FINISHED" for run in runs.values())
    assert all(
        len(run.metrics["curve/val/accuracy"]) == 3
        for key, run in runs.items()
        if "trial" in run.tags.values()
    )
    assert all(run.files == ["grid.csv"] for run in runs.values())

    assert rebuild(storage, EXPERIMENT, uri) == []
    assert read_runs(MlflowClient(uri)) == runs
    identity = MlflowClient(uri).get_experiment_by_name(EXPERIMENT).experiment_id
    assert shown_datasets(uri, identity) == {"training", "validation", "testing"}
    port = int(uri.rpartition(":")[2])
    assert table_addresses(port) == {EXPERIMENT: table_address(uri, identity)}  # Not MLflow's own "Default".
    stop()
    assert table_addresses(port) == {}
    with pytest.raises(TrackingError, match="refused"):
        Tracker(uri, EXPERIMENT, storage).start()


def test_a_port_in_use_is_named(storage):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(TrackingError, match=r"port \d+ of 127.0.0.1 is not free"):
            start_server(f"sqlite:///{storage / 'mlflow.db'}", storage, taken.getsockname()[1])


def test_without_a_database_the_message_names_the_command_that_creates_it(tmp_path):
    with pytest.raises(TrackingError, match="raybench track"):
        start_server(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, free_port())


def test_a_configured_server_is_printed_without_its_password(tmp_path, capsys):
    from raybench.tracking.ui import serve

    assert serve(tmp_path, uri="https://me:secret@mlflow.example") == 0
    assert capsys.readouterr().out == "MLflow runs at https://mlflow.example\n"
