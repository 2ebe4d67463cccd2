"""A small experiment on bundled data, run through the command line as a user would."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.ray_nodes import RealCluster, environment

SPEC = """
name: small
backbones: [mini_resnet.supervised, mini_resnet.random]
tasks: [knn@digits, linear_probe@digits]
search: {sampler: qmc, num_trials: 3, early_stopping: none}
budget: quick
max_epochs: {linear_probe: 3}
seeds: [0, 1]
"""


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


@pytest.fixture
def two_nodes() -> Iterator[RealCluster]:
    with RealCluster() as cluster:
        cluster.add_node()
        yield cluster


@pytest.fixture
def start(spec_file):
    """Starts `raybench run` in a process group of its own, which does not outlive the test."""
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
        driver.stdout.close()  # Nobody has read the output of a driver that a test has killed.
