"""Run MLflow's own server on this machine, to view tracked experiments (`raybench ui`)."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from raybench.core.errors import TrackingError
from raybench.store.files import StoragePath
from raybench.tracking.address import (
    artifact_root,
    is_server,
    sqlite_file,
    tracking_uri,
    without_credentials,
)
from raybench.tracking.shared_view import VIEW_TAG, table_address

HOST = "127.0.0.1"
"""Loopback only: MLflow's server has no password by default."""
POLL_SECONDS = 0.3


def serve(storage: StoragePath, *, uri: str | None = None, port: int = 5000) -> int:
    """Serve MLflow's UI until Ctrl-C; if a tracking server is configured, print its address instead.

    Args:
        storage: folder or bucket with the MLflow database.
        uri: tracking URI; None: `MLFLOW_TRACKING_URI`, else the storage's SQLite file.
        port: TCP port on 127.0.0.1.

    Returns:
        Exit code: 0, or the server's exit code.

    Raises:
        TrackingError: if there is no database yet, or the port is taken.
    """
    uri = tracking_uri(storage, uri)
    if is_server(uri):
        _print_line(f"MLflow runs at {without_credentials(uri)}")
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # The server must not outlive this process.
    server = start_server(uri, artifact_root(storage), port)
    try:
        _print_line(f"MLflow is starting from {without_credentials(uri)} ...")
        if _wait_until_ready(server, port):
            _print_line(f"open http://{HOST}:{port}   (Ctrl-C stops it)")
            for name, address in table_addresses(port).items():
                _print_line(f"  {name}: {address}")
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop_server(server)


def table_addresses(port: int) -> dict[str, str]:
    """Experiment → URL of its table of pairs, for raybench's experiments on a local server.

    Empty if the server does not answer: the URLs are only a convenience.
    """
    server = f"http://{HOST}:{port}"
    try:
        with urllib.request.urlopen(
            f"http://{HOST}:{port}/api/2.0/mlflow/experiments/search?max_results=1000", timeout=30
        ) as response:
            experiments = json.load(response).get("experiments", [])
    except (urllib.error.URLError, OSError, ValueError):
        return {}
    return {
        experiment["name"]: table_address(server, experiment["experiment_id"])
        for experiment in experiments
        if any(tag["key"] == VIEW_TAG for tag in experiment.get("tags", []))
    }


def start_server(uri: str, artifacts: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start `mlflow server` as a child process; it needs some seconds before it answers.

    Raises:
        TrackingError: if there is no database yet, or the port is taken.
    """
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        raise TrackingError(
            f"there is no MLflow database at {str(database)!r}; run an experiment, or rebuild it with "
            "`raybench track STORAGE`."
        )
    _require_free(port)
    options = [
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
        "--artifacts-destination",
        str(artifacts),
    ]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # Arguments are visible to every user of this machine.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "server", *options]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def stop_server(server: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)  # The group of its own session: the server and its workers.
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)
            return


def _wait_until_ready(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """True once the server answers; False if its process ends."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_SECONDS)
    return False


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise TrackingError(
                f"port {port} of {HOST} is not free ({error.strerror}); choose another with `--port`."
            ) from error


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
