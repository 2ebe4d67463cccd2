"""The very command of infra/mlflow, started here: real PostgreSQL, an S3 endpoint, basic authentication.

Three things differ from the cluster: it listens on loopback, on a free port, and the addresses of
database and S3 are those of this machine.
"""

import base64
import json
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import SPEC
from tests.end_to_end.ray_nodes import environment, free_port, kill_tree
from tests.end_to_end.servers import BUCKET, S3_VARIABLES, START_SECONDS, postgresql, s3
from tests.infra.guide import blocks, follow
from tests.infra.policy import ROOT
from tests.infra.test_mlflow import NAMES, pods, settings

pytestmark = pytest.mark.slow

ADMIN = ("admin", secrets.token_urlsafe(16))


@dataclass
class Started:
    """The running server."""

    uri: str
    s3_address: str
    secrets: list[str] = field(repr=False)
    """What must not be in its log."""

    def ask(
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
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


def command(container: dict[str, Any], variables: dict[str, str], **options: str) -> list[str]:
    """A container's command as the kubelet expands it, run by this Python, with some options given anew."""
    arguments = [*container["args"]]
    for name, value in variables.items():
        arguments = [argument.replace(f"$({name})", value) for argument in arguments]
    for name, value in options.items():
        (place,) = [i for i, a in enumerate(arguments) if a.startswith(f"--{name}=")]
        arguments[place] = f"--{name}={value}"
    start = [sys.executable, "-m", "mlflow"] if arguments[0] == "mlflow" else [sys.executable]
    return [*start, *arguments[1:]]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    pod = pods("cluster")["mlflow"]["spec"]
    (server,) = pod["containers"]
    folder = tmp_path_factory.mktemp("mlflow")
    with postgresql() as uri, s3() as s3_address, tempfile.TemporaryFile() as output:
        password = uri.partition("mlflow:")[2].partition("@")[0]
        database = uri.replace(f":{password}@", "@")
        known = settings("cluster")
        ini = (ROOT / "infra/mlflow/base/basic_auth.ini").read_text()
        assert known["DATABASE_URI"] in ini
        (folder / "basic_auth.ini").write_text(ini.replace(known["DATABASE_URI"], database))
        variables = {
            **known,
            "DATABASE_URI": database,
            "ARTIFACTS_DESTINATION": known["ARTIFACTS_DESTINATION"].replace("raybench", BUCKET, 1),
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
        assert referenced <= set(given), "a variable of the manifest that this test does not give"
        all_variables = {**environment(), **given}
        # The init containers, twice: the second time they find all up to date, as after a restart.
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
            found = Started(f"http://127.0.0.1:{port}", s3_address, [password, ADMIN[1]])
            give_up = time.monotonic() + START_SECONDS
            while True:
                try:
                    found.ask("/health")
                    break
                except OSError:
                    output.seek(0)
                    assert process.poll() is None, output.read().decode()
                    assert time.monotonic() < give_up, "the MLflow server does not answer"
                    time.sleep(0.2)
            yield found
            output.seek(0)
            said = output.read().decode()
            assert not [secret for secret in found.secrets if secret in said], "a secret in the log"
        finally:
            kill_tree(process)


SEARCH = "/api/2.0/mlflow/experiments/search?max_results=10"


def test_who_brings_no_password_or_a_wrong_one_gets_401(started: Started) -> None:
    assert started.ask("/health")[0] == 200
    for path in (SEARCH, "/", "/api/2.0/mlflow-artifacts/artifacts"):
        assert started.ask(path)[0] == 401
    assert started.ask(SEARCH, ("admin", "wrong"))[0] == 401
    assert started.ask(SEARCH, ("admin", "password1234"))[0] == 401, "the default of older versions"
    assert started.ask(SEARCH, ADMIN)[0] == 200


@pytest.mark.parametrize("name", NAMES)
def test_the_service_answers_to_its_names_without_and_with_its_port(started: Started, name: str) -> None:
    assert started.ask(SEARCH, ADMIN, host=name)[0] == 200
    assert started.ask(SEARCH, ADMIN, host=f"{name}:5000")[0] == 200


@pytest.mark.parametrize("host", ["example.org", "mlflow.example.org", "mlflow.example.org:5000", "xmlflow"])
def test_any_other_name_gets_403(started: Started, host: str) -> None:
    assert started.ask(SEARCH, ADMIN, host=host)[0] == 403


@pytest.fixture(scope="module")
def user(started: Started, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Name and password of the account that the very commands of infra/README.md make."""
    (commands,) = [block for block in blocks() if "users/create" in block]
    address = re.search(r"http://127\.0\.0\.1:\d+", commands)[0]
    followed = follow(
        commands.replace(address, started.uri),
        tmp_path_factory.mktemp("guide"),
        stored_secret=ADMIN[1],
        stands_in=(),
    )
    data = followed.created["Secret", "raybench-mlflow"]
    name, password = (
        base64.b64decode(data[f"MLFLOW_TRACKING_{k}"]).decode() for k in ("USERNAME", "PASSWORD")
    )
    started.secrets.append(password)
    return name, password


def test_a_user_without_rights_of_an_administrator_tracks_a_run_with_artifacts(
    started: Started, user: tuple[str, str], tmp_path: Path
) -> None:
    another = {"username": "another", "password": secrets.token_urlsafe(16)}
    assert started.ask("/api/2.0/mlflow/users/create", user, content=another)[0] == 403
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
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert user[1] not in done.stdout + done.stderr
    experiments = json.loads(started.ask(SEARCH, user)[1])["experiments"]
    (identity,) = [e["experiment_id"] for e in experiments if e["name"] == "small"]
    _, body = started.ask("/api/2.0/mlflow/runs/search", user, content={"experiment_ids": [identity]})
    runs = json.loads(body)["runs"]
    kinds = [tag["value"] for run in runs for tag in run["data"]["tags"] if tag["key"] == "raybench.kind"]
    assert {run["info"]["status"] for run in runs} == {"FINISHED"}
    assert sorted(set(kinds)) == ["pair", "summary", "trial"]
    with urllib.request.urlopen(f"{started.s3_address}/{BUCKET}?list-type=2", timeout=30) as answer:
        assert f"<Key>mlflow/{identity}/" in answer.read().decode()
    # Another user sees nothing of it until given leave to.
    other = {"username": "other", "password": secrets.token_urlsafe(16)}
    assert started.ask("/api/2.0/mlflow/users/create", ADMIN, content=other)[0] == 200
    seen = started.ask(
        f"/api/2.0/mlflow/experiments/get?experiment_id={identity}", ("other", other["password"])
    )
    assert seen[0] == 403
