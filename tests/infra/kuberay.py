"""Checks of KubeRay 1.7 and Kueue on a manifest, as far as they can be made without a cluster.

The schemas are those of KubeRay's CRDs (crds/shorten.py). Its operator validates more rules when it receives
a manifest (ray-operator/controllers/ray/utils/validation.go); rules that our manifests could break are
repeated here.
"""

import functools
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

from tests.infra.policy import ROOT

CRDS = Path(__file__).with_name("crds")
QUEUE = "kueue.x-k8s.io/queue-name"
BEHIND_ALPHA_GATES = ("networkPolicy", "tlsOptions", "historyServerOptions")
"""Fields that KubeRay 1.7 refuses unless its administrator has enabled them."""

RESOURCES_OF_RAY_START = {"num-cpus", "num-gpus", "memory", "resources"}
MAX_NAME = 47
"""KubeRay appends six characters to a RayJob's name, and more to the cluster's name for its services."""


def strict(schema: Any) -> Any:
    """The schema with unknown fields refused, and fields with a default no longer required."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: strict(value) for key, value in schema.items()}
    fields = copy.get("properties")
    if isinstance(fields, dict) and "type" in copy:
        copy["required"] = [name for name in copy.get("required", []) if "default" not in fields[name]]
        if not copy.get("x-kubernetes-preserve-unknown-fields"):
            copy.setdefault("additionalProperties", False)
    return copy


@functools.cache
def _checker(kind: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(gzip.decompress((CRDS / f"{kind}.json.gz").read_bytes()))
    return jsonschema.Draft202012Validator(strict(schema))


def schema_errors(manifest: dict[str, Any]) -> list[str]:
    """Violations of the CRD by a RayCluster or RayJob."""
    checked = {key: value for key, value in manifest.items() if key != "metadata"}
    return [f"{e.json_path}: {e.message}" for e in _checker(manifest["kind"]).iter_errors(checked)]


def operator_errors(manifest: dict[str, Any]) -> list[str]:
    """Violations of the operator's rules, and of Kueue's if the manifest names a queue."""
    is_job = manifest["kind"] == "RayJob"
    spec, name = manifest["spec"], manifest["metadata"]["name"]
    errors = [] if re.fullmatch(rf"[a-z][a-z0-9-]{{0,{MAX_NAME - 1}}}", name) else ["name: not a DNS label"]
    errors += _job_errors(spec) if is_job else []
    cluster = spec.get("rayClusterSpec") if is_job else spec
    if cluster is not None:
        errors += [*_cluster_errors(cluster), *_authentication_errors(cluster, is_job)]
    if QUEUE in manifest["metadata"].get("labels", {}):
        errors += _queue_errors(spec, cluster, is_job)
    return errors


def _cluster_errors(spec: dict[str, Any]) -> Iterator[str]:
    for field in BEHIND_ALPHA_GATES:
        if field in spec:
            yield f"{field}: behind an alpha gate"
    if spec.get("gcsFaultToleranceOptions", {}).get("backend") == "rocksdb":
        yield "gcsFaultToleranceOptions: behind an alpha gate"
    groups = spec.get("workerGroupSpecs", [])
    if len({group["groupName"] for group in groups}) != len(groups):
        yield "groupName: twice"
    for group in (spec["headGroupSpec"], *groups):
        started = group.get("rayStartParams", {})
        if group.get("resources") and RESOURCES_OF_RAY_START & set(started):
            yield "resources: in rayStartParams too"
        if "labels" in started:
            yield "rayStartParams: labels belong to the group"
        if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield "restartPolicy: not Never"
    for group in groups:
        yield from _replica_errors(group, bool(spec.get("enableInTreeAutoscaling")))
    environment = spec["headGroupSpec"]["template"]["spec"]["containers"][0].get("env", [])
    if {"RAY_REDIS_ADDRESS", "REDIS_USERNAME", "RAY_enable_autoscaler_v2"} & {e["name"] for e in environment}:
        yield "env: KubeRay has a field for it"


def _replica_errors(group: dict[str, Any], may_grow: bool) -> Iterator[str]:
    if not may_grow and not {"minReplicas", "maxReplicas"} <= set(group):
        yield "replicas: minReplicas and maxReplicas are missing"
    low, high = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
    if not 0 <= low <= group.get("replicas", low) <= high:
        yield "replicas: not between minReplicas and maxReplicas"


def _authentication_errors(spec: dict[str, Any], is_job: bool) -> Iterator[str]:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert pinned
    if spec.get("rayVersion") != pinned[1]:
        yield f"rayVersion: not that of requirements.lock, {pinned[1]}"
    options = spec.get("authOptions", {})
    if options.get("mode") != "token" or not options.get("secretName"):
        yield "authOptions: not our token"
    if is_job and options.get("enableK8sTokenAuth"):
        yield "authOptions: a RayJob cannot use Kubernetes tokens"


def _job_errors(spec: dict[str, Any]) -> Iterator[str]:
    shuts_down = bool(spec.get("shutdownAfterJobFinishes"))
    if ("rayClusterSpec" in spec) == bool(spec.get("clusterSelector")):
        yield "cluster: neither or both of rayClusterSpec and clusterSelector"
    if spec.get("suspend") and not shuts_down:
        yield "suspend: without shutdownAfterJobFinishes"
    if spec.get("ttlSecondsAfterFinished", 0) < 0 or (spec.get("ttlSecondsAfterFinished") and not shuts_down):
        yield "ttlSecondsAfterFinished: without shutdownAfterJobFinishes, or below 0"
    if spec.get("deletionStrategy", {}).get("deletionRules") and shuts_down:
        yield "deletionStrategy: with shutdownAfterJobFinishes"
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(field, 1) <= 0:
            yield f"{field}: not positive"
    backoff, mode = spec.get("backoffLimit", 0), spec.get("submissionMode", "K8sJobMode")
    if backoff < 0 or (backoff and (spec.get("clusterSelector") or mode == "InteractiveMode")):
        yield "backoffLimit: below 0, or no new cluster can be created"
    if mode == "SidecarMode" and {"submitterPodTemplate", "submitterConfig", "clusterSelector"} & set(spec):
        yield "submissionMode: SidecarMode takes no submitter and no selector"
    if spec.get("managedBy", "ray.io/kuberay-operator") not in (
        "ray.io/kuberay-operator",
        "kueue.x-k8s.io/multikueue",
    ):
        yield "managedBy: unknown"


def _queue_errors(spec: dict[str, Any], cluster: dict[str, Any] | None, is_job: bool) -> Iterator[str]:
    if cluster is None or "suspend" in spec:
        yield "queue: Kueue creates the cluster and owns `suspend`"
    elif cluster.get("enableInTreeAutoscaling") or len(cluster["workerGroupSpecs"]) > 7:
        yield "queue: Kueue needs a fixed number of pods, in at most eight sets"
    if is_job and not spec.get("shutdownAfterJobFinishes"):
        yield "queue: without shutdownAfterJobFinishes"
