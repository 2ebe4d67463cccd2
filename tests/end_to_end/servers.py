"""The servers of a deployment, real ones on loopback: PostgreSQL, an S3 endpoint, MLflow on both."""

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.end_to_end.ray_nodes import environment, free_port, kill_tree, wait_for_port

START_SECONDS = 120
BUCKET = "raybench"
S3_VARIABLES = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URI of an empty database on a PostgreSQL that asks for a password.

    The URI names its driver: SQLAlchemy 2.1 takes `postgresql://` for psycopg 3.

    PostgreSQL refuses to run as root, so root starts it as `postgres` or `nobody`.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs and not (found := shutil.which("initdb")):
        pytest.skip("PostgreSQL is not installed (Debian's package is `postgresql`)")
    binaries = programs[-1].parent if programs else Path(found).parent
    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    password, port = secrets.token_urlsafe(24), free_port()
    (folder / "password").write_text(password)
    user = _unprivileged_user()
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    options = {"user": user, "extra_groups": []} if user is not None else {}

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [binaries / program, *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PGPASSWORD": password},
            check=False,
            **options,
        )
        assert done.returncode == 0, done.stderr

    access = ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--username=mlflow"]
    call("initdb", f"--pgdata={folder / 'data'}", "--no-sync", "--encoding=UTF8", *access)
    place = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", folder / "data", "-p", str(port), "-F", *place],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
        **options,
    )
    try:
        wait_for_port(server, port)
        _wait_until(lambda: call("createdb", "--host=127.0.0.1", f"--port={port}", "--username=mlflow", "db"))
        yield f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{port}/db"
    finally:
        kill_tree(server)
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def _wait_until(attempt, seconds: float = 30) -> None:
    """Until it raises no more."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (AssertionError, OSError):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)


@contextlib.contextmanager
def s3() -> Iterator[str]:
    """The address of an S3 endpoint (moto's server) with one empty bucket."""
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
    """`mlflow server` as a deployment runs it: PostgreSQL behind it, artifacts passed on to S3."""

    database: str = field(repr=False)
    s3_address: str
    port: int = field(default_factory=free_port)
    output: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait for its first answer."""
        places = ["--artifacts-destination", f"s3://{BUCKET}/mlflow"]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--workers", "2", *places],
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
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                return urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
            except OSError:
                assert self.process.poll() is None, self.said()
                assert time.monotonic() < give_up, "the MLflow server does not answer"
                time.sleep(0.2)

    def said(self) -> str:
        """What it has printed so far."""
        self.output.seek(0)
        return self.output.read().decode()

    def stop(self) -> None:
        """SIGKILL, as for a pod whose node is lost."""
        if self.process is not None:
            kill_tree(self.process)
            self.process = None


@contextlib.contextmanager
def mlflow_server() -> Iterator[MlflowServer]:
    """A running MLflow server, which may be stopped and started."""
    with postgresql() as database, s3() as address:
        server = MlflowServer(database, address)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            server.output.close()
