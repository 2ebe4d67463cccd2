"""A tracking server is asked whether it answers; a database is only looked for."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from raybench.core.errors import TrackingError
from raybench.tracking.probe import probe


class Versioned(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_known = self.path == "/version"
        self.send_response(200 if is_known else 404)
        self.end_headers()
        self.wfile.write(b"3.17.2\n" if is_known else b"")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """URI of something that answers as MLflow does."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Versioned) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_server_tells_its_version(server, ending):
    assert probe(server + ending) == f"{server}{ending} answers, MLflow 3.17.2"


def test_a_server_that_is_not_mlflow_is_refused(server):
    with pytest.raises(TrackingError, match="does not answer: HTTP Error 404"):
        probe(f"{server}/elsewhere")


def test_a_server_that_is_not_there_is_refused_with_the_remedy():
    with pytest.raises(
        TrackingError,
        match=r"MLflow at http://127\.0\.0\.1:9 does not answer: .*; start it, or leave out the URI",
    ):
        probe("http://127.0.0.1:9")


def test_a_password_is_not_repeated():
    with pytest.raises(TrackingError) as caught:
        probe("http://me:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)


def test_a_database_is_said_to_be_there_or_to_come(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert probe(uri) == f"{uri} (created by the first run)"
    (tmp_path / "mlflow.db").touch()
    assert probe(uri) == uri
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
