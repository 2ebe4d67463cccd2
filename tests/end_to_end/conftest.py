"""A small experiment on bundled data, run through the command line as a user would."""

import os
import subprocess
import sys
from collections.abc import Callable
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
