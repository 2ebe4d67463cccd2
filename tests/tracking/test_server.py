"""A real `mlflow server` on loopback, killed and restarted while trials arrive."""

import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from raybench.core.errors import TrackingError
from raybench.store import ledger
from raybench.tracking import Tracker, rebuild
from raybench.tracking.table import table_address
from raybench.tracking.ui import start_server, stop_server, table_addresses

EXPERIMENT = "demo"
START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def place(storage: Path):
    """(URI, start, stop) of a server on a database and artifact folder of its own."""
    port = free_port()
    running = []

    def start():
        running.append(start_server(f"sqlite:///{storage / 'mlflow.db'}", storage / "served", port))
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            except (urllib.error.URLError, OSError):
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.2)

    def stop():
        while running:
            stop_server(running.pop())

    yield f"http://127.0.0.1:{port}", start, stop
    stop()


@pytest.mark.slow
def test_a_server_killed_and_restarted_mid_run_loses_and_doubles_nothing(
    storage, place, pair_records, look, monkeypatch
):
    from mlflow.tracking import MlflowClient

    uri, start, stop = place
    records = pair_records("mini_vit.supervised", num_search=12, num_seeds=2)
    start()
    tracker = Tracker(uri, EXPERIMENT, storage)
    tracker.start()
    for position, record in enumerate(records):
        ledger.write_record(storage, record)
        tracker.log(record)
        if position == 4:
            stop()  # Somewhere within the first trials: the thread is busy with them.
    give_up = time.monotonic() + 30
    while not tracker.state.problem and time.monotonic() < give_up:
        time.sleep(0.05)
    assert "refused" in tracker.state.problem or "Connection" in tracker.state.problem
    assert tracker.state.num_waiting > 0
    start()
    assert tracker.close(timeout=120) == []
    seen = look(MlflowClient(uri))
    assert set(seen) == {record.trial_id for record in records} | {seen[records[0].trial_id][3]["parent"]}
    assert all(run[1] == "FINISHED" for run in seen.values())
    assert all(
        len(run[5]["curve/val/accuracy"]) == 3 for key, run in seen.items() if "trial" in run[3].values()
    )
    assert all(run[6] == ["grid.csv"] for run in seen.values())

    assert rebuild(storage, EXPERIMENT, uri) == []
    assert look(MlflowClient(uri)) == seen
    identity = MlflowClient(uri).get_experiment_by_name(EXPERIMENT).experiment_id
    port = int(uri.rpartition(":")[2])
    assert table_addresses(port) == {EXPERIMENT: table_address(uri, identity)}  # Not MLflow's own "Default".
    stop()
    assert table_addresses(port) == {}
    started = time.perf_counter()
    with pytest.raises(TrackingError, match="refused"):
        Tracker(uri, EXPERIMENT, storage).start()
    assert time.perf_counter() - started < 10


def test_a_port_in_use_is_named(storage):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(TrackingError, match=r"port \d+ of 127.0.0.1 is not free"):
            start_server(f"sqlite:///{storage / 'mlflow.db'}", storage, taken.getsockname()[1])


def test_a_storage_without_a_database_says_how_to_get_one(tmp_path):
    with pytest.raises(TrackingError, match="raybench track"):
        start_server(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, free_port())


def test_a_server_elsewhere_is_named_without_its_password(tmp_path, capsys):
    from raybench.tracking.ui import serve

    assert serve(tmp_path, uri="https://me:secret@mlflow.example") == 0
    assert capsys.readouterr().out == "MLflow runs at https://mlflow.example\n"
