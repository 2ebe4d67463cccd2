"""MLflow's own server on this machine, to look at what was tracked."""

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
from raybench.tracking.table import VIEW_TAG, table_address

HOST = "127.0.0.1"
"""This machine only: MLflow's server asks nobody for a password."""
POLL_SECONDS = 0.3


def serve(storage: StoragePath, *, uri: str | None = None, port: int = 5000) -> int:
    """Show what is tracked until Ctrl-C; a tracking server that runs elsewhere is only named.

    Args:
        uri: tracking URI; None: `MLFLOW_TRACKING_URI`, else the storage's SQLite file.
        port: TCP port on 127.0.0.1.

    Returns:
        Exit code: 0, or the server's own.

    Raises:
        TrackingError: if there is no database yet, or the port is taken.
    """
    uri = tracking_uri(storage, uri)
    if is_server(uri):
        _say(f"MLflow runs at {without_credentials(uri)}")
        return 0
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.default_int_handler)  # The server must not outlive this process.
    server = start_server(uri, artifact_root(storage), port)
    try:
        _say(f"MLflow is starting from {without_credentials(uri)} ...")
        if _wait_until_it_answers(server, port):
            _say(f"open http://{HOST}:{port}   (Ctrl-C stops it)")
            for name, address in table_addresses(port).items():
                _say(f"  {name}: {address}")
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop_server(server)


def table_addresses(port: int) -> dict[str, str]:
    """Experiment → where a browser shows its table of pairs, for raybench's experiments on a server here.

    Empty if the server does not say: an address is a convenience.
    """
    place = f"http://{HOST}:{port}"
    try:
        with urllib.request.urlopen(
            f"http://{HOST}:{port}/api/2.0/mlflow/experiments/search?max_results=1000", timeout=30
        ) as answer:
            experiments = json.load(answer).get("experiments", [])
    except (urllib.error.URLError, OSError, ValueError):
        return {}
    return {
        experiment["name"]: table_address(place, experiment["experiment_id"])
        for experiment in experiments
        if any(tag["key"] == VIEW_TAG for tag in experiment.get("tags", []))
    }


def start_server(uri: str, artifacts: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start `mlflow server` as a child process; it answers some seconds later.

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
    ]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # Not an argument: those can be read by everyone on this machine.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    options += ["--artifacts-destination", str(artifacts)]
    command = [sys.executable, "-m", "mlflow", "server", *options]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def stop_server(server: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sign)  # Its own session, so the group is the server and its workers.
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)
            return


def _wait_until_it_answers(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """False if the server ended instead."""
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


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
