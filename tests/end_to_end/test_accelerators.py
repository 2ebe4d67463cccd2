"""GPU requests on a real Ray node that claims to have a GPU but has none."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end import slow_cloud
from tests.end_to_end.ray_nodes import RealCluster
from tests.processes import DEADLINE_SECONDS

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
    """A node that claims to have a GPU; PyTorch finds none."""
    options = ["--num-cpus=2", "--num-gpus=1", "--labels=ray.io/accelerator-type=H100"]
    with RealCluster(head_options=options) as cluster:
        yield cluster


@pytest.fixture
def run_on(claiming, tmp_path):
    """`run_on(resources)`: run an experiment with those resources on the cluster."""

    def run(resources: str) -> subprocess.CompletedProcess[str]:
        spec = tmp_path / "small.yaml"
        spec.write_text(f"{SPEC}resources: {resources}\n")
        return subprocess.run(
            [sys.executable, "-m", "raybench.cli", "run", spec, "--storage", tmp_path / "storage"],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            env=claiming.environment | {"RAY_ADDRESS": claiming.address},
            check=False,
        )

    return run


def records(storage) -> list[dict]:
    return [json.loads(file.read_text()) for file in (storage / "experiments/small/trials").glob("*.json")]


def test_a_kind_that_the_cluster_lacks_is_refused(run_on):
    outcome = run_on("{accelerators: [h100, A100]}")
    assert outcome.returncode == 2
    assert "GPUs of kind h100 or A100, but no node has that many" in outcome.stderr
    assert "(nodes: 2 CPUs + 1 GPUs (H100)); did you mean 'H100'?" in outcome.stderr


def test_zero_gpus_per_trial_keeps_trials_on_the_cpu(run_on, tmp_path):
    outcome = run_on("{gpus_per_trial: 0}")
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    finals = [record for record in records(tmp_path / "storage") if record["stage"] == "final"]
    assert finals
    assert {record["provenance"]["device"] for record in finals} == {"cpu"}


def test_a_gpu_that_pytorch_cannot_use_fails_the_trial_with_that_reason(run_on, tmp_path):
    outcome = run_on("{accelerators: [H100], gpus_per_trial: 1}")
    assert outcome.returncode == 1, outcome.stderr + outcome.stdout
    assert "Ray has given this trial 1 GPUs, but PyTorch" in outcome.stderr


CAN_ADD = """
import ray
from raybench.tuning.growth import autoscaler
ray.init(log_to_driver=False, logging_level="error")
with autoscaler() as scaler:
    requests = (0.5, ["H100"]), (0.5, ["A100"]), (0.5, ["A100", "H100"]), (2.0, ["H100"]), (0.0, ["A100"])
    for gpus, kinds in requests:
        print(scaler.can_add((1.0, gpus), kinds))
"""


def test_the_autoscaler_knows_the_gpu_kind_of_a_group_of_size_zero(tmp_path):
    """The kind comes from the group's labels, as KubeRay passes them on."""
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
            [sys.executable, "-c", CAN_ADD],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            env=cluster.environment | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": root},
            check=False,
        )
    assert done.stdout.split() == ["True", "False", "True", "False", "True"], done.stderr
