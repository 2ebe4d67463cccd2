"""A real Ray cluster on this machine: several `ray start`s on loopback, with a token."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.processes import DEADLINE_SECONDS, free_port, kill_tree, wait_for_port


def environment() -> dict[str, str]:
    """This process's environment without the variables that choose a tracking server or a Ray cluster."""
    dropped = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    return {key: value for key, value in os.environ.items() if key not in dropped}


class RealCluster:
    """Context manager: a head and more nodes, by default with one CPU each."""

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
            with_jobs: serve `ray job submit` at `dashboard`.
            head_options: more options of the head's `ray start`.
            head_variables: more environment variables of the head only.
            variables: more environment variables of all nodes, and so of the drivers of submitted jobs.
        """
        self.environment = {
            **environment(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        """Environment of a driver on the head, and of `ray job`."""
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
        """Start one more node.

        Args:
            options: more options of its `ray start`.
            waits: return only when it has joined the cluster.
            inside: prefix of its command, such as `unshare …`.
            variables: more environment variables.
        """
        node = self._start(f"--address={self.address}", *options, inside=inside, variables=variables)
        if waits:
            _wait_for_nodes(self.environment | {"RAY_ADDRESS": self.address}, len(self.nodes))
        return node

    def job(self, *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `ray job …` to its end."""
        return subprocess.run(
            ["ray", "job", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
            cwd=cwd,
            env=self.environment | {"RAY_API_SERVER_ADDRESS": self.dashboard},
        )

    def _start(
        self, *options: str, inside: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        # One folder per node: a shared one would mix up their working directories. The path is short because
        # it holds sockets.
        self._folders.append(tempfile.mkdtemp(prefix="ray"))
        cpus = [] if any(option.startswith("--num-cpus") for option in options) else ["--num-cpus=1"]
        command = ["ray", "start", *options, *cpus, "--node-ip-address=127.0.0.1", "--block"]
        variables = {**self._variables, **({} if self.nodes else self._head_variables), **(variables or {})}
        agent = [f"--dashboard-agent-listen-port={free_port()}"]
        self.nodes.append(
            subprocess.Popen(
                [*inside, *command, *agent, f"--temp-dir={self._folders[-1]}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self.environment | variables,
                start_new_session=True,
            )
        )
        return self.nodes[-1]


def _wait_for_nodes(variables: dict[str, str], count: int) -> None:
    program = f"""
import ray, time
ray.init(log_to_driver=False, logging_level="error")
while sum(node["Alive"] for node in ray.nodes()) < {count}:
    time.sleep(0.2)
"""
    subprocess.run([sys.executable, "-c", program], env=variables, check=True, timeout=DEADLINE_SECONDS)
