"""A real Ray cluster on this machine: several `ray start`s on loopback, with a token; how to kill them."""

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
from collections.abc import Mapping, Sequence
from pathlib import Path

START_SECONDS = 90


def environment() -> dict[str, str]:
    """The caller's, without what would change where a run is tracked or executed."""
    dropped = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    return {key: value for key, value in os.environ.items() if key not in dropped}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealCluster:
    """A head and further nodes of one CPU each. Use it as a context; it leaves nothing running."""

    def __init__(
        self,
        *,
        with_jobs: bool = False,
        head_options: Sequence[str] = (),
        head_variables: Mapping[str, str] | None = None,
        **variables: str,
    ) -> None:
        """
        Args:
            with_jobs: the head serves `ray job submit` at `dashboard`.
            head_options: more for the head's `ray start`.
            head_variables: more for the head's environment, which the other nodes do not get.
            variables: what the nodes, and so the drivers of submitted jobs, find in their environment.
        """
        self.environment = {
            **environment(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        """For a driver on the head, and for `ray job`."""
        self.nodes: list[subprocess.Popen[bytes]] = []
        port, dashboard_port = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        self.dashboard = f"http://127.0.0.1:{dashboard_port}"
        self._variables = variables
        self._head_variables = head_variables or {}
        self._folders: list[str] = []
        serving = ["--include-dashboard=false"]
        if with_jobs:
            serving = ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"]
        self._head_options = [
            "--head",
            f"--port={port}",
            f"--ray-client-server-port={free_port()}",
            *serving,
            *head_options,
        ]
        self._ports = [port, dashboard_port] if with_jobs else [port]

    @property
    def head(self) -> "subprocess.Popen[bytes]":
        return self.nodes[0]

    @property
    def second(self) -> "subprocess.Popen[bytes]":
        return self.nodes[1]

    def __enter__(self) -> "RealCluster":
        try:
            self._start(*self._head_options)
            for port in self._ports:
                wait_for_port(self.head, port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for node in reversed(self.nodes):
            kill_tree(node)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def add_node(
        self, *options: str, waits: bool = True, inside: Sequence[str] = (), **variables: str
    ) -> "subprocess.Popen[bytes]":
        """Start one more node; with `waits`, return when the cluster has it.

        Args:
            options: more for its `ray start`.
            waits: for the cluster to have it.
            inside: a command that runs the one that follows it, as `unshare` does.
            variables: more for its environment.
        """
        node = self._start(f"--address={self.address}", *options, inside=inside, variables=variables)
        if waits:
            _wait_for_nodes(self.environment | {"RAY_ADDRESS": self.address}, len(self.nodes))
        return node

    def job(self, *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """`ray job …`, to its end."""
        return subprocess.run(
            ["ray", "job", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
            cwd=cwd,
            env=self.environment | {"RAY_API_SERVER_ADDRESS": self.dashboard},
        )

    def _start(
        self, *options: str, inside: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        # A folder each, or the second would unpack working directories over the first one's; a short path,
        # for it holds sockets.
        self._folders.append(tempfile.mkdtemp(prefix="ray"))
        shape = [] if any(option.startswith("--num-cpus") for option in options) else ["--num-cpus=1"]
        command = ["ray", "start", *options, *shape, "--node-ip-address=127.0.0.1", "--block"]
        own = {**self._variables, **({} if self.nodes else self._head_variables), **(variables or {})}
        agent = [f"--dashboard-agent-listen-port={free_port()}"]
        self.nodes.append(
            subprocess.Popen(
                [*inside, *command, *agent, f"--temp-dir={self._folders[-1]}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self.environment | own,
                start_new_session=True,
            )
        )
        return self.nodes[-1]


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


def kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL for a process and everything that it started, whatever its process group."""
    for victim in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    process.wait()


def wait_for_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "the process has ended"
            assert time.monotonic() < give_up, f"nothing listens on port {port}"
            time.sleep(0.2)


def _wait_for_nodes(variables: dict[str, str], count: int) -> None:
    program = f"""
import ray, time
ray.init(log_to_driver=False, logging_level="error")
while sum(node["Alive"] for node in ray.nodes()) < {count}:
    time.sleep(0.2)
"""
    subprocess.run([sys.executable, "-c", program], env=variables, check=True, timeout=START_SECONDS)
