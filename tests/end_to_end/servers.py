"""Real servers of a deployment on loopback: PostgreSQL, an S3 endpoint, and MLflow on both."""

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.end_to_end.ray_nodes import environment
from tests.processes import free_port, kill_tree, wait_for_port, wait_until

BUCKET = "raybench"
S3_VARIABLES = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """URI of an empty database on a PostgreSQL server with a password.

    The URI names its driver because SQLAlchemy 2.1 takes `postgresql://` for psycopg 3. PostgreSQL refuses
    to run as root, so root starts it as `postgres` or `nobody`.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs and not (program := shutil.which("initdb")):
        pytest.skip("PostgreSQL is not installed (Debian's package is `postgresql`)")
    binaries = programs[-1].parent if programs else Path(program).parent
    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    password, port = secrets.token_urlsafe(24), free_port()
    (folder / "password").write_text(password)
    user = _unprivileged_user()
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    options = {"user": user, "extra_groups": []} if user is not None else {}

    def call(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [binaries / program, *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PGPASSWORD": password},
            check=False,
            **options,
        )

    def has_database() -> bool:
        access = ("--host=127.0.0.1", f"--port={port}", "--username=mlflow")
        return call("createdb", *access, "db").returncode == 0

    access = ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--username=mlflow"]
    done = call("initdb", f"--pgdata={folder / 'data'}", "--no-sync", "--encoding=UTF8", *access)
    assert done.returncode == 0, done.stderr
    listen = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", folder / "data", "-p", str(port), "-F", *listen],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
        **options,
    )
    try:
        wait_for_port(server, port)
        wait_until(has_database, "PostgreSQL creates a database", pause=0.2)
        yield f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{port}/db"
    finally:
        kill_tree(server)
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def answers(url: str) -> bool:
    """True if the URL can be fetched without an error."""
    try:
        urllib.request.urlopen(url, timeout=60).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def s3() -> Iterator[str]:
    """Address of an S3 endpoint (moto's server) with one empty bucket."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_port(server, port)
        address = f"http://127.0.0.1:{port}"
        urllib.request.urlopen(
            urllib.request.Request(f"{address}/{BUCKET}", method="PUT"), timeout=30
        ).close()
        yield address
    finally:
        kill_tree(server)


@dataclass
class MlflowServer:
    """`mlflow server` as in a deployment: its database in PostgreSQL, its artifacts in S3."""

    database: str = field(repr=False)
    s3_address: str
    port: int = field(default_factory=free_port)
    output: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait for its first answer."""
        artifacts = ["--artifacts-destination", f"s3://{BUCKET}/mlflow"]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--workers", "2", *artifacts],
            env={
                **environment(),
                **S3_VARIABLES,
                "MLFLOW_BACKEND_STORE_URI": self.database,
                "MLFLOW_S3_ENDPOINT_URL": self.s3_address,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "true",
            },
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def is_healthy() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            return answers(f"{self.uri}/health")

        wait_until(is_healthy, "the MLflow server answers", pause=0.2)

    def log(self) -> str:
        """Everything it has printed."""
        self.output.seek(0)
        return self.output.read().decode()

    def stop(self) -> None:
        """Send SIGKILL, as to a pod whose node is lost."""
        if self.process is not None:
            kill_tree(self.process)
            self.process = None


@contextlib.contextmanager
def mlflow_server() -> Iterator[MlflowServer]:
    """A running MLflow server, which the test may stop and start."""
    with postgresql() as database, s3() as address:
        server = MlflowServer(database, address)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            server.output.close()
