"""A cluster that is still to grow: Ray's real autoscaler, a worker group at zero, a node that comes late."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end import slow_cloud
from tests.end_to_end.conftest import SPEC
from tests.end_to_end.ray_nodes import RealCluster
from tests.end_to_end.test_run import values

pytestmark = pytest.mark.slow

RETRY_SECONDS = 120
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """A head without CPUs under an autoscaler that could add nodes of two CPUs."""
    config = tmp_path_factory.mktemp("autoscaler") / "config.json"
    config.write_text(json.dumps(slow_cloud.CONFIG))
    options = ["--num-cpus=0", f"--autoscaling-config={config}"]
    variables = {**slow_cloud.VARIABLES, "PYTHONPATH": str(ROOT)}
    with RealCluster(head_options=options, head_variables=variables) as cluster:
        yield cluster


def start(cluster: RealCluster, spec: Path, storage: Path, output: Path) -> subprocess.Popen:
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "raybench.cli", "run", spec, "--storage", storage],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=cluster.environment | {"RAY_ADDRESS": cluster.address},
        )


def test_what_no_node_group_can_ever_hold_is_refused_before_anything_waits(growing, tmp_path):
    spec = tmp_path / "greedy.yaml"
    spec.write_text(SPEC + "resources: {cpus_per_trial: 1, gpus_per_trial: 1}\n")
    driver = start(growing, spec, tmp_path / "storage", tmp_path / "output")
    assert driver.wait(RETRY_SECONDS) == 2
    said = (tmp_path / "output").read_text()
    assert (
        "asks for 1 CPUs and 1 GPUs, but no node has that many, and the autoscaler has no kind of node"
        in said
    )
    assert "waiting for a node" not in said


def test_a_run_waits_for_the_first_node_of_a_group_at_zero_and_says_so(
    growing, finished, spec_file, tmp_path
):
    driver = start(growing, spec_file, tmp_path / "storage", tmp_path / "output")
    try:
        give_up = time.monotonic() + RETRY_SECONDS
        while "waiting for a node with 1 CPUs" not in (said := (tmp_path / "output").read_text()):
            assert driver.poll() is None, said
            assert time.monotonic() < give_up, said
            time.sleep(0.2)
        growing.add_node("--num-cpus=2", waits=False)
        assert driver.wait(RETRY_SECONDS) == 0, (tmp_path / "output").read_text()
    finally:
        driver.kill()
        driver.wait()
    assert values(tmp_path / "storage").equals(values(finished))
