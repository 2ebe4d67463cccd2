"""Requests for GPUs on a real node that claims to have one: refused, not used, or failing with the reason."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end import slow_cloud
from tests.end_to_end.ray_nodes import RealCluster

pytestmark = pytest.mark.slow

SPEC = """
name: small
backbones: [mini_resnet.supervised]
tasks: [knn@digits]
search: {num_trials: 1}
budget: quick
seeds: [0]
"""


@pytest.fixture(scope="module")
def claiming():
    """A node that says it has a GPU. PyTorch finds none on it."""
    options = ["--num-cpus=2", "--num-gpus=1", "--labels=ray.io/accelerator-type=H100"]
    with RealCluster(head_options=options) as cluster:
        yield cluster


@pytest.fixture
def run_on(claiming, tmp_path):
    """`run_on(resources)`: an experiment with those resources, on the cluster; `tmp_path` has the storage."""

    def run(resources: str) -> subprocess.CompletedProcess[str]:
        spec = tmp_path / "small.yaml"
        spec.write_text(f"{SPEC}resources: {resources}\n")
        return subprocess.run(
            [sys.executable, "-m", "raybench.cli", "run", spec, "--storage", tmp_path / "storage"],
            capture_output=True,
            text=True,
            timeout=400,
            env=claiming.environment | {"RAY_ADDRESS": claiming.address},
            check=False,
        )

    return run


def records(storage) -> list[dict]:
    return [json.loads(file.read_text()) for file in (storage / "experiments/small/trials").glob("*.json")]


def test_a_kind_that_the_cluster_lacks_is_refused_at_once(run_on):
    outcome = run_on("{accelerators: [h100, A100]}")
    assert outcome.returncode == 2
    assert "GPUs of kind h100 or A100, but no node has that many" in outcome.stderr
    assert "(nodes: 2 CPUs + 1 GPUs (H100)); did you mean 'H100'?" in outcome.stderr


def test_zero_gpus_keeps_trials_on_the_cpu_of_a_node_with_a_gpu(run_on, tmp_path):
    outcome = run_on("{gpus_per_trial: 0}")
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    finals = [record for record in records(tmp_path / "storage") if record["stage"] == "final"]
    assert finals
    assert {record["provenance"]["device"] for record in finals} == {"cpu"}


def test_a_gpu_that_pytorch_cannot_use_is_the_reason_of_each_failure(run_on, tmp_path):
    outcome = run_on("{accelerators: [H100], gpus_per_trial: 1}")
    assert outcome.returncode == 1, outcome.stderr + outcome.stdout
    assert "Ray has given this trial 1 GPUs, but PyTorch" in outcome.stderr


ASKS = """
import ray
from raybench.tuning.growth import autoscaler
ray.init(log_to_driver=False, logging_level="error")
with autoscaler() as asked:
    wishes = (0.5, ["H100"]), (0.5, ["A100"]), (0.5, ["A100", "H100"]), (2.0, ["H100"]), (0.0, ["A100"])
    for gpus, kinds in wishes:
        print(asked.can_add((1.0, gpus), kinds))
"""


def test_the_autoscaler_knows_the_kinds_of_a_group_that_has_no_node_yet(tmp_path):
    """By the labels of the group, as KubeRay hands them on; nothing is known of its GPUs otherwise."""
    cloud = copy.deepcopy(slow_cloud.CONFIG)
    cloud["available_node_types"]["gpu"] = {
        "resources": {"CPU": 2, "GPU": 1},
        "labels": {"ray.io/accelerator-type": "H100"},
        "node_config": {},
        "max_workers": 1,
    }
    (tmp_path / "cloud.json").write_text(json.dumps(cloud))
    root = str(Path(__file__).parents[2])
    with RealCluster(
        head_options=["--num-cpus=0", f"--autoscaling-config={tmp_path / 'cloud.json'}"],
        head_variables={**slow_cloud.VARIABLES, "PYTHONPATH": root},
    ) as cluster:
        done = subprocess.run(
            [sys.executable, "-c", ASKS],
            capture_output=True,
            text=True,
            timeout=240,
            env=cluster.environment | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": root},
            check=False,
        )
    assert done.stdout.split() == ["True", "False", "True", "False", "True"], done.stderr
