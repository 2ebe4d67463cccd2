"""The RayJob's entrypoint on real `ray start`s: a head without trials, a worker; then a second such cluster.

KubeRay itself is not here. What its submitter's pod runs in K8sJobMode is: `ray job submit`, then the log.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import SPEC
from tests.end_to_end.ray_nodes import RealCluster, kill_tree
from tests.end_to_end.test_run import NUM_TRIALS, values
from tests.infra.policy import pod_templates
from tests.infra.test_manifests import the_ray

pytestmark = [pytest.mark.slow, pytest.mark.drill]

RETRY_SECONDS = 200


@contextmanager
def cluster_of(job: dict[str, Any]) -> Iterator[RealCluster]:
    """A head as the RayJob describes it, and one worker that names its GPU as components/gpu-kinds does."""
    spec = job["spec"]["rayClusterSpec"]
    head = [f"--{name}={value}" for name, value in spec["headGroupSpec"]["rayStartParams"].items()]
    (container,) = pod_templates(job)["head"]["spec"]["containers"]
    given = {entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith("RAY_")}
    labels = the_ray("cluster+gpu-kinds")["spec"]["workerGroupSpecs"][0]["labels"]
    with RealCluster(with_jobs=True, head_options=head, head_variables=given) as cluster:
        cluster.add_node("--labels=" + ",".join(f"{name}={value}" for name, value in labels.items()))
        yield cluster


def test_when_the_head_is_lost_the_next_cluster_does_what_is_left(finished: Path, tmp_path: Path) -> None:
    job = the_ray("kuberay/local-job")
    assert job["spec"]["backoffLimit"] >= 1
    # The two paths of the entrypoint are volumes of the pods: folders of this machine here.
    (tmp_path / "experiment.yaml").write_text(SPEC)
    entrypoint = job["spec"]["entrypoint"]
    for mounted, here in (("/experiments", tmp_path), ("/storage", tmp_path / "storage")):
        assert f" {mounted}/" in entrypoint
        entrypoint = entrypoint.replace(f" {mounted}/", f" {here}/")
    storage = tmp_path / "storage" / "results"
    ledger = storage / "experiments" / "small" / "trials"

    def trials() -> set[str]:
        records = [*ledger.glob("*-search-*.json"), *ledger.glob("*-final-*.json")]
        return {path.name for path in records if json.loads(path.read_text())["status"] == "completed"}

    with cluster_of(job) as first:
        assert first.job("submit", "--no-wait", "--", *entrypoint.split()).returncode == 0
        give_up = time.monotonic() + RETRY_SECONDS
        while len(trials()) < NUM_TRIALS // 4:
            assert time.monotonic() < give_up, trials()
            time.sleep(0.1)
        kill_tree(first.head)
    before = {name: (ledger / name).stat().st_mtime_ns for name in trials()}
    assert len(before) < NUM_TRIALS

    with cluster_of(job) as second:
        done = second.job("submit", "--", *entrypoint.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(trials()) == NUM_TRIALS
    assert {name: (ledger / name).stat().st_mtime_ns for name in before} == before, "a trial was run again"
    named = ("experiment", "trial_id")
    assert values(storage).drop(named).equals(values(finished).drop(named))
