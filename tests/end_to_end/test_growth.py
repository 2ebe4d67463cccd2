"""A cluster that grows: Ray's real autoscaler, a worker group of size zero, and a node that joins late."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end import slow_cloud
from tests.end_to_end.ray_nodes import RealCluster
from tests.end_to_end.small_experiment import SPEC, measurements
from tests.processes import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """A head without CPUs, with an autoscaler that could add nodes of two CPUs."""
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


def test_a_request_that_no_node_group_can_meet_is_refused_without_waiting(growing, tmp_path):
    spec = tmp_path / "greedy.yaml"
    spec.write_text(SPEC + "resources: {cpus_per_trial: 1, gpus_per_trial: 1}\n")
    driver = start(growing, spec, tmp_path / "storage", tmp_path / "output")
    assert driver.wait(DEADLINE_SECONDS) == 2
    output = (tmp_path / "output").read_text()
    assert "asks for 1 CPUs and 1 GPUs, but no node has that many, and the autoscaler has no" in output
    assert "waiting for a node" not in output


def test_a_run_waits_for_the_first_node_of_a_group_of_size_zero(growing, finished, spec_file, tmp_path):
    driver = start(growing, spec_file, tmp_path / "storage", tmp_path / "output")

    def waits_for_node() -> bool:
        output = (tmp_path / "output").read_text()
        assert driver.poll() is None, output
        return "waiting for a node with 1 CPUs" in output

    try:
        wait_until(waits_for_node, "the driver waits for a node")
        growing.add_node("--num-cpus=2", waits=False)
        assert driver.wait(DEADLINE_SECONDS) == 0, (tmp_path / "output").read_text()
    finally:
        driver.kill()
        driver.wait()
    assert measurements(tmp_path / "storage").equals(measurements(finished))
