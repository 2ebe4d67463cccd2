"""The RayJob's entrypoint on a real head and worker; the head is killed, a second cluster finishes.

Without KubeRay itself: the test runs the command of its submitter pod in K8sJobMode, `ray job submit`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.ray_nodes import RealCluster
from tests.end_to_end.small_experiment import NUM_TRIALS, SPEC, measurements
from tests.infra.policy import pod_templates
from tests.infra.test_manifests import the_ray
from tests.processes import kill_tree, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.drill]


@contextmanager
def cluster_of(job: dict[str, Any]) -> Iterator[RealCluster]:
    """A head as in the RayJob, and one worker with the GPU label of components/gpu-kinds."""
    spec = job["spec"]["rayClusterSpec"]
    head = [f"--{name}={value}" for name, value in spec["headGroupSpec"]["rayStartParams"].items()]
    (container,) = pod_templates(job)["head"]["spec"]["containers"]
    variables = {
        entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith("RAY_")
    }
    labels = the_ray("cluster+gpu-kinds")["spec"]["workerGroupSpecs"][0]["labels"]
    with RealCluster(with_jobs=True, head_options=head, head_variables=variables) as cluster:
        cluster.add_node("--labels=" + ",".join(f"{name}={value}" for name, value in labels.items()))
        yield cluster


def test_after_a_lost_head_the_next_cluster_runs_the_remaining_trials(finished: Path, tmp_path: Path) -> None:
    job = the_ray("kuberay/local-job")
    assert job["spec"]["backoffLimit"] >= 1
    # The entrypoint's two paths are volumes of the pods; here they are local folders.
    (tmp_path / "experiment.yaml").write_text(SPEC)
    entrypoint = job["spec"]["entrypoint"]
    for mounted, local in (("/experiments", tmp_path), ("/storage", tmp_path / "storage")):
        assert f" {mounted}/" in entrypoint
        entrypoint = entrypoint.replace(f" {mounted}/", f" {local}/")
    storage = tmp_path / "storage" / "results"
    ledger = storage / "experiments" / "small" / "trials"

    def trials() -> set[str]:
        records = [*ledger.glob("*-search-*.json"), *ledger.glob("*-final-*.json")]
        return {path.name for path in records if json.loads(path.read_text())["status"] == "completed"}

    with cluster_of(job) as first:
        assert first.job("submit", "--no-wait", "--", *entrypoint.split()).returncode == 0
        wait_until(lambda: len(trials()) >= NUM_TRIALS // 4, "a quarter of the trials")
        kill_tree(first.head)
    before = {name: (ledger / name).stat().st_mtime_ns for name in trials()}
    assert len(before) < NUM_TRIALS

    with cluster_of(job) as second:
        done = second.job("submit", "--", *entrypoint.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(trials()) == NUM_TRIALS
    assert {name: (ledger / name).stat().st_mtime_ns for name in before} == before, "a trial was run again"
    names = ("experiment", "trial_id")
    assert measurements(storage).drop(names).equals(measurements(finished).drop(names))
