"""A tracking server is queried; for a database only the file is checked."""

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
    """URI of a server that answers like MLflow's."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Versioned) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_servers_version_is_reported(server, ending):
    assert probe(server + ending) == f"{server}{ending} answers, MLflow 3.17.2"


def test_a_server_that_is_not_mlflow_is_refused(server):
    with pytest.raises(
        TrackingError,
        match=r"cannot be used: HTTP Error 404.*check that the address is that of an MLflow server",
    ):
        probe(f"{server}/elsewhere")


def test_an_absent_server_is_reported_with_what_to_do():
    with pytest.raises(
        TrackingError,
        match=r"MLflow at http://127\.0\.0\.1:9 cannot be used: .*; start it, or leave out the URI",
    ):
        probe("http://127.0.0.1:9")


def test_the_message_does_not_contain_the_password():
    with pytest.raises(TrackingError) as caught:
        probe("http://me:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)


def test_a_database_exists_or_is_created_by_the_first_run(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert probe(uri) == f"{uri} (created by the first run)"
    (tmp_path / "mlflow.db").touch()
    assert probe(uri) == uri
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
