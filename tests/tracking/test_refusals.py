"""A tracking server that refuses, and a database that another process holds: one sentence with what to do."""

import http.server
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from raybench.core.errors import TrackingError
from raybench.tracking import Tracker
from raybench.tracking.probe import probe

PAGE = b"<!DOCTYPE html><html><body><h1>Forbidden</h1><p>request id 123</p></body></html>"


class Forbidding(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def forbidding() -> Iterator[str]:
    """URI of a server that answers 403 and a page to everything, as a proxy in front of MLflow does."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forbidding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def check(message: str) -> None:
    assert "it refuses these credentials: check MLFLOW_TRACKING_USERNAME" in message
    assert "start it" not in message
    assert "<" not in message
    assert "request id" not in message


def test_a_run_on_a_server_that_refuses_is_told_to_check_its_credentials(forbidding, tmp_path):
    with pytest.raises(TrackingError) as caught:
        Tracker(forbidding, "small", tmp_path / "storage").start()
    check(str(caught.value))


def test_so_is_doctor(forbidding):
    with pytest.raises(TrackingError) as caught:
        probe(forbidding)
    check(str(caught.value))


def test_a_database_that_another_process_holds_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    storage = tmp_path / "storage"
    storage.mkdir()
    with closing(sqlite3.connect(storage / "mlflow.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE held (x)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="is locked by another process; end that process, or"):
            Tracker(None, "small", storage).start()
