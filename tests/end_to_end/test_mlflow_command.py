"""The MLflow server's command from infra/mlflow, on a real PostgreSQL and S3 endpoint, with passwords.

Three things differ from the cluster: it listens on loopback, on a free port, and database and S3 have
local addresses.
"""

import base64
import json
import re
import secrets
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.ray_nodes import environment
from tests.end_to_end.servers import BUCKET, S3_VARIABLES, answers, postgresql, s3
from tests.end_to_end.small_experiment import SPEC
from tests.infra.guide import blocks, follow
from tests.infra.policy import ROOT
from tests.infra.test_mlflow import NAMES, pods, settings
from tests.processes import DEADLINE_SECONDS, free_port, kill_tree, wait_until

pytestmark = pytest.mark.slow

ADMIN = ("admin", secrets.token_urlsafe(16))


@dataclass
class RunningServer:
    """The running MLflow server."""

    uri: str
    s3_address: str
    secrets: list[str] = field(repr=False)
    """Values that must not be in its log."""

    def fetch(
        self, path: str, user: tuple[str, str] | None = None, *, host: str = "", content: Any = None
    ) -> tuple[int, bytes]:
        """Status and body of one request."""
        request = urllib.request.Request(f"{self.uri}{path}")
        if user is not None:
            token = base64.b64encode(":".join(user).encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        if host:
            request.add_header("Host", host)
        if content is not None:
            request.data = json.dumps(content).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


def command(container: dict[str, Any], variables: dict[str, str], **options: str) -> list[str]:
    """A container's command as the kubelet expands it, run by this Python, with some options replaced."""
    arguments = [*container["args"]]
    for name, value in variables.items():
        arguments = [argument.replace(f"$({name})", value) for argument in arguments]
    for name, value in options.items():
        (position,) = [i for i, a in enumerate(arguments) if a.startswith(f"--{name}=")]
        arguments[position] = f"--{name}={value}"
    start = [sys.executable, "-m", "mlflow"] if arguments[0] == "mlflow" else [sys.executable]
    return [*start, *arguments[1:]]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    pod = pods("cluster")["mlflow"]["spec"]
    (server,) = pod["containers"]
    folder = tmp_path_factory.mktemp("mlflow")
    with postgresql() as uri, s3() as s3_address, tempfile.TemporaryFile() as output:
        password = uri.partition("mlflow:")[2].partition("@")[0]
        database = uri.replace(f":{password}@", "@")
        manifest_settings = settings("cluster")
        ini = (ROOT / "infra/mlflow/base/basic_auth.ini").read_text()
        assert manifest_settings["DATABASE_URI"] in ini
        (folder / "basic_auth.ini").write_text(ini.replace(manifest_settings["DATABASE_URI"], database))
        variables = {
            **manifest_settings,
            "DATABASE_URI": database,
            "ARTIFACTS_DESTINATION": manifest_settings["ARTIFACTS_DESTINATION"].replace(
                "raybench", BUCKET, 1
            ),
        }
        given = {entry["name"]: entry["value"] for entry in server["env"] if "value" in entry}
        given |= {
            **variables,
            **S3_VARIABLES,
            "HOME": str(folder),
            "PGPASSWORD": password,
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
            "MLFLOW_S3_ENDPOINT_URL": s3_address,
        }
        referenced = {entry["name"] for entry in server["env"]}
        assert referenced <= set(given), "the manifest has a variable that this test does not set"
        all_variables = {**environment(), **given}
        # The init containers run twice: the second time everything is up to date, as after a restart.
        for container in [*pod["initContainers"], *pod["initContainers"]]:
            migration = command(container, variables)
            done = subprocess.run(
                migration, env=all_variables, capture_output=True, text=True, cwd=folder, check=False
            )
            assert done.returncode == 0, done.stderr
        port = free_port()
        process = subprocess.Popen(
            command(server, variables, host="127.0.0.1", port=str(port)),
            env=all_variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
        try:
            running = RunningServer(f"http://127.0.0.1:{port}", s3_address, [password, ADMIN[1]])

            def is_healthy() -> bool:
                output.seek(0)
                assert process.poll() is None, output.read().decode()
                return answers(f"{running.uri}/health")

            wait_until(is_healthy, "the MLflow server answers", pause=0.2)
            yield running
            output.seek(0)
            log = output.read().decode()
            assert not [secret for secret in running.secrets if secret in log], "a secret in the log"
        finally:
            kill_tree(process)


SEARCH = "/api/2.0/mlflow/experiments/search?max_results=10"


def test_a_missing_or_wrong_password_gets_401(started: RunningServer) -> None:
    assert started.fetch("/health")[0] == 200
    for path in (SEARCH, "/", "/api/2.0/mlflow-artifacts/artifacts"):
        assert started.fetch(path)[0] == 401
    assert started.fetch(SEARCH, ("admin", "wrong"))[0] == 401
    assert started.fetch(SEARCH, ("admin", "password1234"))[0] == 401, (
        "the default password of older versions"
    )
    assert started.fetch(SEARCH, ADMIN)[0] == 200


@pytest.mark.parametrize("name", NAMES)
def test_the_service_answers_to_its_names_without_and_with_its_port(
    started: RunningServer, name: str
) -> None:
    assert started.fetch(SEARCH, ADMIN, host=name)[0] == 200
    assert started.fetch(SEARCH, ADMIN, host=f"{name}:5000")[0] == 200


@pytest.mark.parametrize("host", ["example.org", "mlflow.example.org", "mlflow.example.org:5000", "xmlflow"])
def test_any_other_name_gets_403(started: RunningServer, host: str) -> None:
    assert started.fetch(SEARCH, ADMIN, host=host)[0] == 403


@pytest.fixture(scope="module")
def user(started: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Name and password of the account that the commands of infra/README.md create."""
    (commands,) = [block for block in blocks() if "users/create" in block]
    address = re.search(r"http://127\.0\.0\.1:\d+", commands)[0]
    followed = follow(
        commands.replace(address, started.uri),
        tmp_path_factory.mktemp("guide"),
        stored_secret=ADMIN[1],
        stubs=(),
    )
    data = followed.created["Secret", "raybench-mlflow"]
    name, password = (
        base64.b64decode(data[f"MLFLOW_TRACKING_{k}"]).decode() for k in ("USERNAME", "PASSWORD")
    )
    started.secrets.append(password)
    return name, password


def test_a_user_who_is_no_administrator_tracks_a_run_with_artifacts(
    started: RunningServer, user: tuple[str, str], tmp_path: Path
) -> None:
    another = {"username": "another", "password": secrets.token_urlsafe(16)}
    assert started.fetch("/api/2.0/mlflow/users/create", user, content=another)[0] == 403
    (tmp_path / "small.yaml").write_text(SPEC.replace("seeds: [0, 1]", "seeds: [0]"))
    storage = tmp_path / "storage"
    done = subprocess.run(
        [sys.executable, "-m", "raybench.cli", "run", tmp_path / "small.yaml", "--storage", storage],
        env={
            **environment(),
            "MLFLOW_TRACKING_URI": started.uri,
            "MLFLOW_TRACKING_USERNAME": user[0],
            "MLFLOW_TRACKING_PASSWORD": user[1],
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert user[1] not in done.stdout + done.stderr
    experiments = json.loads(started.fetch(SEARCH, user)[1])["experiments"]
    (experiment_id,) = [e["experiment_id"] for e in experiments if e["name"] == "small"]
    _, body = started.fetch("/api/2.0/mlflow/runs/search", user, content={"experiment_ids": [experiment_id]})
    runs = json.loads(body)["runs"]
    kinds = [tag["value"] for run in runs for tag in run["data"]["tags"] if tag["key"] == "raybench.kind"]
    assert {run["info"]["status"] for run in runs} == {"FINISHED"}
    assert sorted(set(kinds)) == ["pair", "summary", "trial"]
    with urllib.request.urlopen(
        f"{started.s3_address}/{BUCKET}?list-type=2", timeout=DEADLINE_SECONDS
    ) as response:
        assert f"<Key>mlflow/{experiment_id}/" in response.read().decode()
    # Another user cannot read it without permission.
    other = {"username": "other", "password": secrets.token_urlsafe(16)}
    assert started.fetch("/api/2.0/mlflow/users/create", ADMIN, content=other)[0] == 200
    response = started.fetch(
        f"/api/2.0/mlflow/experiments/get?experiment_id={experiment_id}", ("other", other["password"])
    )
    assert response[0] == 403
