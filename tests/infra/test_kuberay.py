"""Properties of the RayCluster and the RayJob, and tests of the checks in kuberay.py."""

import copy
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from tests.infra import kuberay
from tests.infra.policy import pod_templates
from tests.infra.test_manifests import OPTIONS, rendered, the_ray

CLUSTERS = ["kuberay/local", "kuberay/cluster"]
JOBS = ["kuberay/local-job", "kuberay/cluster-job"]
ALL = ["+".join(["cluster", *OPTIONS["cluster"]]), "+".join(["cluster", *OPTIONS["cluster"], "job"])]
UNITS = {"Mi": 2**20, "Gi": 2**30}


def cluster_of(name: str) -> dict[str, Any]:
    spec = the_ray(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def number_of_bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda spec: spec.update(rayVersion="2.59.0"), "rayVersion"),
        (lambda spec: spec["authOptions"].pop("mode"), "authOptions"),
        (lambda spec: spec.update(networkPolicy={"mode": "DenyAll"}), "networkPolicy"),
        (lambda spec: spec.update(gcsFaultToleranceOptions={"backend": "rocksdb"}), "gcsFaultTolerance"),
        (lambda spec: spec["workerGroupSpecs"].append(spec["workerGroupSpecs"][0]), "groupName"),
        (lambda spec: spec["headGroupSpec"].update(resources={"CPU": "0"}), "resources"),
        (lambda spec: spec["headGroupSpec"]["rayStartParams"].update(labels="a=b"), "rayStartParams"),
        (lambda spec: spec["headGroupSpec"]["template"]["spec"].update(restartPolicy="Always"), "restart"),
        (lambda spec: spec["workerGroupSpecs"][0].pop("maxReplicas"), "replicas"),
        (lambda spec: spec["workerGroupSpecs"][0].update(minReplicas=2), "replicas"),
        (
            lambda spec: spec["headGroupSpec"]["template"]["spec"]["containers"][0]["env"].append(
                {"name": "RAY_REDIS_ADDRESS", "value": "x"}
            ),
            "env",
        ),
    ],
)
def test_a_cluster_that_kuberay_would_refuse_is_refused(change: Change, error: str) -> None:
    for name in ("kuberay/local", "kuberay/local-job"):
        manifest = copy.deepcopy(the_ray(name))
        assert kuberay.operator_errors(manifest) == []
        change(manifest["spec"].get("rayClusterSpec", manifest["spec"]))
        assert [e for e in kuberay.operator_errors(manifest) if e.startswith(error)]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"shutdownAfterJobFinishes": False}, "ttlSecondsAfterFinished"),
        ({"ttlSecondsAfterFinished": -1}, "ttlSecondsAfterFinished"),
        ({"shutdownAfterJobFinishes": False, "suspend": True}, "suspend"),
        ({"submissionMode": "SidecarMode"}, "submissionMode"),
        ({"submissionMode": "InteractiveMode"}, "backoffLimit"),
        ({"backoffLimit": -1}, "backoffLimit"),
        ({"clusterSelector": {"ray.io/cluster": "raybench"}}, "cluster"),
        ({"activeDeadlineSeconds": 0}, "activeDeadlineSeconds"),
        ({"preRunningDeadlineSeconds": -1}, "preRunningDeadlineSeconds"),
        ({"managedBy": "me"}, "managedBy"),
        ({"deletionStrategy": {"deletionRules": [{"policy": "DeleteSelf"}]}}, "deletionStrategy"),
    ],
)
def test_a_job_that_kuberay_would_refuse_is_refused(change: dict[str, Any], error: str) -> None:
    manifest = copy.deepcopy(the_ray("kuberay/local-job"))
    manifest["spec"].update(change)
    assert [e for e in kuberay.operator_errors(manifest) if e.startswith(error)]


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"shutdownAfterJobFinishes": False, "ttlSecondsAfterFinished": 0},
        {"rayClusterSpec": {**cluster_of("cluster+job"), "enableInTreeAutoscaling": True}},
    ],
)
def test_a_job_that_kueue_would_refuse_is_refused(change: dict[str, Any]) -> None:
    manifest = copy.deepcopy(the_ray("cluster+kueue+job"))
    manifest["spec"].update(change)
    assert [e for e in kuberay.operator_errors(manifest) if e.startswith("queue")]


def test_a_name_too_long_for_kuberays_suffixes_is_refused() -> None:
    for name in ("a" * 48, "1a", "A", "a_b"):
        manifest = copy.deepcopy(the_ray("kuberay/local-job"))
        manifest["metadata"]["name"] = name
        assert kuberay.operator_errors(manifest) == ["name: not a DNS label"]


@pytest.mark.parametrize("name", [*CLUSTERS, *JOBS, *ALL])
def test_rays_ports_admit_only_selected_pods(name: str) -> None:
    (policy,) = [item for item in rendered(name) if item["kind"] == "NetworkPolicy"]
    spec, pods = policy["spec"], pod_templates(the_ray(name))
    assert all(rule.get("from") for rule in spec["ingress"])
    selector = spec["podSelector"]["matchLabels"].items()
    for place, template in pods.items():
        labels = template["metadata"]["labels"].items()
        assert (selector <= labels) == (place != "submitter")
    dashboard = next(
        rule for rule in spec["ingress"] if rule.get("ports") == [{"port": 8265, "protocol": "TCP"}]
    )
    peers = [peer.get("podSelector", {}).get("matchLabels", {}) for peer in dashboard["from"]]
    for submitter in (template for place, template in pods.items() if place == "submitter"):
        assert any(peer and peer.items() <= submitter["metadata"]["labels"].items() for peer in peers)


@pytest.mark.parametrize("name", [*CLUSTERS, *JOBS, *ALL])
def test_the_head_runs_no_trials_is_not_evicted_and_waits_for_stopped_jobs(name: str) -> None:
    head = cluster_of(name)["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    (budget,) = [m["spec"] for m in rendered(name) if m["kind"] == "PodDisruptionBudget"]
    assert budget["minAvailable"] == 1
    selector = budget["selector"]["matchLabels"].items()
    selected = [
        p for p, t in pod_templates(the_ray(name)).items() if selector <= t["metadata"]["labels"].items()
    ]
    assert selected == ["head"]
    pod = head["template"]["spec"]
    environment = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    wait = int(environment["RAY_JOB_STOP_WAIT_TIME_S"])
    assert 30 <= wait < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", [*CLUSTERS, *JOBS, *ALL])
def test_one_image_is_head_workers_and_submitter(name: str) -> None:
    pods = [template["spec"] for template in pod_templates(the_ray(name)).values()]
    (image,) = {container["image"] for pod in pods for container in pod["containers"]}
    assert image == ("raybench:0.1.0-cpu" if "local" in name else "raybench:0.1.0")


@pytest.mark.parametrize("name", [*CLUSTERS, *JOBS, *ALL])
def test_rays_object_store_fits_into_shared_memory(name: str) -> None:
    for place, template in pod_templates(the_ray(name)).items():
        if place == "submitter":
            continue
        (shm,) = [v["emptyDir"] for v in template["spec"]["volumes"] if v["name"] == "shm"]
        memory = number_of_bytes(template["spec"]["containers"][0]["resources"]["limits"]["memory"])
        assert shm["medium"] == "Memory"
        assert number_of_bytes(shm["sizeLimit"]) >= Fraction(3, 10) * memory


@pytest.mark.parametrize("job", [*JOBS, ALL[1]])
def test_a_jobs_cluster_equals_that_of_the_overlay(job: str) -> None:
    alone = cluster_of(job.replace("-job", "").replace("+job", ""))
    copied = copy.deepcopy(cluster_of(job))
    head = copied["headGroupSpec"]["template"]
    assert head["metadata"]["labels"].pop("raybench.dev/head") == "run"
    assert head["spec"]["volumes"].pop() == {
        "name": "experiment",
        "configMap": {"name": "raybench-experiment"},
    }
    mount = head["spec"]["containers"][0]["volumeMounts"].pop()
    assert mount == {"name": "experiment", "mountPath": "/experiments", "readOnly": True}
    expected = copy.deepcopy(alone)
    expected["headGroupSpec"]["template"]["metadata"]["labels"].pop("raybench.dev/head")
    assert copied == expected


@pytest.mark.parametrize("name", [*JOBS, ALL[1]])
def test_a_job_is_retried_has_a_deadline_and_is_removed(name: str) -> None:
    spec = the_ray(name)["spec"]
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["backoffLimit"] > 0
    assert spec["activeDeadlineSeconds"] > 3600
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    storage = "s3://raybench/results" if name == ALL[1] else "/storage/results"
    assert spec["entrypoint"] == f"raybench run /experiments/experiment.yaml --storage {storage}"


@pytest.mark.parametrize("name", ["cluster+s3", "cluster+s3+job", *ALL])
def test_with_s3_nothing_needs_a_shared_volume(name: str) -> None:
    assert "PersistentVolumeClaim" not in {m["kind"] for m in rendered(name)}
    (settings,) = [m["data"] for m in rendered(name) if m["kind"] == "ConfigMap"]
    assert set(settings) == {"AWS_REGION", "AWS_ENDPOINT_URL"}
    for place, template in pod_templates(the_ray(name)).items():
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert "storage" not in volumes
        if place != "submitter":
            assert "emptyDir" in volumes["cache"]
            sources = template["spec"]["containers"][0]["envFrom"]
            assert {"secretRef": {"name": "raybench-storage"}} in sources
            assert {"configMapRef": {"name": "raybench-storage"}} in sources


@pytest.mark.parametrize("name", ["cluster+gpu-kinds", "cluster+gpu-kinds+job", *ALL])
def test_the_groups_of_two_gpu_kinds_differ_only_in_their_labels(name: str) -> None:
    first, second = copy.deepcopy(cluster_of(name)["workerGroupSpecs"])
    for group, kind in ((first, "H100"), (second, "A100")):
        assert group.pop("groupName") == kind.lower()
        assert group.pop("labels") == {"ray.io/accelerator-type": kind}
        assert f"-{kind}-" in group["template"]["spec"].pop("nodeSelector")["nvidia.com/gpu.product"]
    assert first == second


def test_spot_nodes_are_for_workers_only() -> None:
    cluster = cluster_of("kuberay/cluster")
    assert "tolerations" not in cluster["headGroupSpec"]["template"]["spec"]
    (group,) = cluster["workerGroupSpecs"]
    keys = {toleration["key"] for toleration in group["template"]["spec"]["tolerations"]}
    assert {"nvidia.com/gpu", "raybench.dev/spot"} < keys
    assert group["template"]["spec"]["terminationGracePeriodSeconds"] == 60


def test_user_datasets_are_mounted_read_only_on_every_node() -> None:
    for template in pod_templates(the_ray("cluster+datasets")).values():
        (volume,) = [v for v in template["spec"]["volumes"] if v["name"] == "datasets"]
        assert volume["persistentVolumeClaim"]["readOnly"] is True
        mounts = template["spec"]["containers"][0]["volumeMounts"]
        assert {"name": "datasets", "mountPath": "/data", "readOnly": True} in mounts


@pytest.mark.parametrize("name", ["cluster+kueue", "cluster+kueue+job"])
def test_a_queued_cluster_has_a_fixed_size(name: str) -> None:
    assert the_ray(name)["metadata"]["labels"][kuberay.QUEUE] == "raybench"
    for group in cluster_of(name)["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] > 0


def test_caches_are_on_a_volume() -> None:
    for template in pod_templates(the_ray("kuberay/cluster")).values():
        entries = template["spec"]["containers"][0]["env"]
        paths = {e["name"]: e["value"] for e in entries if re.search("HOME|DATA|CACHE", e["name"])}
        assert set(paths) == {"HF_HOME", "TORCH_HOME", "RAYBENCH_DATA", "RAYBENCH_CACHE"}
        assert all(path.startswith("/cache/") for path in paths.values())
