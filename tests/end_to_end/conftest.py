"""A small experiment on bundled data, run through the command line as a user would."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SPEC = """
name: small
backbones: [mini_resnet.supervised, mini_resnet.random]
tasks: [knn@digits, linear_probe@digits]
search: {sampler: qmc, num_trials: 3, early_stopping: none}
budget: quick
max_epochs: {linear_probe: 3}
seeds: [0, 1]
"""


def environment() -> dict[str, str]:
    """The caller's, without what would change where a run is tracked or executed."""
    dropped = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_AUTH_TOKEN")
    return {key: value for key, value in os.environ.items() if key not in dropped}


@pytest.fixture(scope="session")
def spec_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("spec") / "small.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="session")
def raybench() -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*arguments: object, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "raybench.cli", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment(), check=False
        )

    return call


@pytest.fixture(scope="session")
def finished(raybench, spec_file, tmp_path_factory) -> Path:
    """A storage on which the small experiment has been run undisturbed."""
    storage = tmp_path_factory.mktemp("finished")
    outcome = raybench("run", spec_file, "--storage", storage, "--num-cpus", 2)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    return storage


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class RealCluster:
    """A head and a second node of one CPU each, as two `ray start`s on loopback, with a token."""

    head: subprocess.Popen[bytes]
    second: subprocess.Popen[bytes]
    address: str
    environment: dict[str, str]
    """For a driver on the head."""


@pytest.fixture
def two_nodes() -> Iterator[RealCluster]:
    port = free_port()
    base = environment() | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    started: list[subprocess.Popen[bytes]] = []
    folders: list[str] = []

    def node(*arguments: str) -> subprocess.Popen[bytes]:
        # A folder each, or the second would unpack working directories over the first one's; a short path,
        # for it holds sockets.
        folders.append(tempfile.mkdtemp(prefix="ray"))
        command = ["ray", "start", *arguments, "--node-ip-address=127.0.0.1", "--num-cpus=1", "--block"]
        process = subprocess.Popen(
            [*command, f"--temp-dir={folders[-1]}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=base,
            start_new_session=True,
        )
        started.append(process)
        return process

    client_port = f"--ray-client-server-port={free_port()}"
    head = node("--head", "--include-dashboard=false", f"--port={port}", client_port)
    address = f"127.0.0.1:{port}"
    try:
        _wait_for_port(head, port)
        second = node(f"--address={address}")
        _wait_for_nodes(base | {"RAY_ADDRESS": address}, 2)
        yield RealCluster(head, second, address, base)
    finally:
        for process in reversed(started):
            kill_tree(process)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def descendants(ancestor: int) -> list[int]:
    """Ids of the processes below one."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])

    def is_below(process: int) -> bool:
        while process in parents and process != ancestor:
            process = parents[process]
        return process == ancestor

    return [process for process in parents if process != ancestor and is_below(process)]


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a node and everything that it started, whatever its process group."""
    for victim in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], port: int, seconds: float = 90) -> None:
    give_up = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "the node has ended"
            assert time.monotonic() < give_up, f"nothing listens on port {port}"
            time.sleep(0.2)


def _wait_for_nodes(variables: dict[str, str], count: int) -> None:
    program = f"""
import ray, time
ray.init(log_to_driver=False, logging_level="error")
while sum(node["Alive"] for node in ray.nodes()) < {count}:
    time.sleep(0.2)
"""
    subprocess.run([sys.executable, "-c", program], env=variables, check=True, timeout=90)
