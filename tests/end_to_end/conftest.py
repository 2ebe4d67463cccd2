"""Fixtures that run the command line on the small experiment, as a user would."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.ray_nodes import RealCluster, environment
from tests.end_to_end.small_experiment import SPEC
from tests.processes import DEADLINE_SECONDS


@pytest.fixture(scope="session")
def spec_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("spec") / "small.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="session")
def raybench() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`raybench(argument, …, NAME=value)`: run the command line with more environment variables."""

    def call(
        *arguments: object, timeout: float = DEADLINE_SECONDS, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "raybench.cli", *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment() | variables,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def finished(raybench, spec_file, tmp_path_factory) -> Path:
    """A storage with an undisturbed run of the small experiment."""
    storage = tmp_path_factory.mktemp("finished")
    outcome = raybench("run", spec_file, "--storage", storage, "--num-cpus", 2)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    return storage


@pytest.fixture
def two_nodes() -> Iterator[RealCluster]:
    with RealCluster() as cluster:
        cluster.add_node()
        yield cluster


@pytest.fixture
def start(spec_file):
    """`start(storage)`: start `raybench run` in its own process group, which ends with the test."""
    drivers = []

    def call(storage: object, spec: Path = spec_file, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "raybench.cli", "run", spec, "--storage", storage]
        drivers.append(
            subprocess.Popen(
                [*map(str, command), "--num-cpus", "2"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment() | variables,
                start_new_session=True,
            )
        )
        return drivers[-1]

    yield call
    for driver in drivers:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        driver.stdout.close()  # Left open where a test has killed its driver.
