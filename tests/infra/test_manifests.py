"""Strict checks of every rendering of the manifests, and tests of these checks.

They need no cluster.
"""

import copy
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.infra import kuberay
from tests.infra.policy import INFRA, containers, kustomized, pod_templates, policy_errors

KUBERNETES = "1.34"
OPTIONS = {"local": ["s3", "datasets", "kueue"], "cluster": ["s3", "datasets", "kueue", "gpu-kinds"]}
"""Overlay → its components, in the order in which they must be listed."""

CREATED_BY_USER = {
    ("Secret", "raybench-ray-token"),
    ("Secret", "raybench-mlflow"),
    ("Secret", "raybench-mlflow-server"),
    ("Secret", "raybench-s3"),
    ("Secret", "raybench-storage"),
    ("ConfigMap", "raybench-experiment"),
    ("PersistentVolumeClaim", "raybench-datasets"),
}
"""Objects that the commands of infra/README.md create (tests/infra/test_guide.py)."""


def renderings() -> Iterator[tuple[str, Path, tuple[Path, ...]]]:
    for overlay in sorted(INFRA.glob("*/overlays/*")):
        yield f"{overlay.parts[-3]}/{overlay.name}", overlay, ()
    yield "mlflow/restore", INFRA / "mlflow" / "restore", ()
    components = INFRA / "kuberay" / "components"
    for overlay_name, options in OPTIONS.items():
        alone = [[option] for option in options] if overlay_name == "cluster" else []
        for chosen in ([], *alone, options):
            for names in (chosen, [*chosen, "job"]):
                if names:
                    overlay = INFRA / "kuberay" / "overlays" / overlay_name
                    yield (
                        "+".join([overlay_name, *names]),
                        overlay,
                        tuple(components / name for name in names),
                    )


RENDERINGS = {name: (folder, components) for name, folder, components in renderings()}


def rendered(name: str) -> list[dict[str, Any]]:
    folder, components = RENDERINGS[name]
    return kustomized(folder, *components)


def the_ray(name: str) -> dict[str, Any]:
    """The RayCluster or RayJob of a rendering."""
    (manifest,) = [m for m in rendered(name) if m["apiVersion"] == "ray.io/v1"]
    return manifest


@functools.cache
def validate(manifest: str) -> None:
    """Validate strictly against Kubernetes' schemas; cached, because renderings share most manifests."""
    kubernetes_validate.validate(json.loads(manifest), KUBERNETES, strict=True)


@pytest.mark.parametrize("name", RENDERINGS)
def test_every_manifest_is_valid_for_kubernetes_and_kuberay(name: str) -> None:
    for manifest in rendered(name):
        if manifest["apiVersion"] == "ray.io/v1":
            assert kuberay.schema_errors(manifest) == []
            assert kuberay.operator_errors(manifest) == []
        else:
            validate(json.dumps(manifest))


@pytest.mark.parametrize("name", RENDERINGS)
def test_every_pod_obeys_the_policy(name: str) -> None:
    assert {m["metadata"]["name"]: e for m in rendered(name) if (e := policy_errors(m))} == {}
    assert any(pod_templates(manifest) for manifest in rendered(name))


@pytest.mark.parametrize("name", RENDERINGS)
def test_everything_is_in_one_namespace(name: str) -> None:
    for manifest in rendered(name):
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "raybench", manifest["metadata"]["name"]


def references(pod: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of every object that a pod refers to."""
    kinds = {"secretRef": "Secret", "configMapRef": "ConfigMap", "secretKeyRef": "Secret"}
    for container in containers(pod):
        sources = [*container.get("envFrom", []), *(e.get("valueFrom", {}) for e in container.get("env", []))]
        yield from ((kinds[key], value["name"]) for source in sources for key, value in source.items())
        # Only the API server would refuse a mount without a volume.
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
    for volume in pod.get("volumes", []):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]


@pytest.mark.parametrize("name", RENDERINGS)
def test_every_object_that_a_pod_refers_to_exists_or_is_created_by_the_guide(name: str) -> None:
    manifests = rendered(name)
    existing = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    if name == "mlflow/restore":
        existing |= {(m["kind"], m["metadata"]["name"]) for m in rendered("mlflow/local")}
    for manifest in manifests:
        for template in pod_templates(manifest).values():
            pod = copy.deepcopy(template["spec"])
            claims = manifest["spec"].get("volumeClaimTemplates", [])
            pod.setdefault("volumes", []).extend({"name": claim["metadata"]["name"]} for claim in claims)
            assert set(references(pod)) <= existing | CREATED_BY_USER


Change = Callable[[dict[str, Any]], Any]


def head(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"].get("rayClusterSpec", manifest["spec"])["headGroupSpec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda pod: pod["containers"][0].update(image="raybench:latest"), "image"),
        (lambda pod: pod["containers"][0].update(image="raybench"), "image"),
        (lambda pod: pod["containers"][0].update(image="localhost:5000/raybench"), "image"),
        (lambda pod: pod["securityContext"].update(runAsUser=0), "root"),
        (lambda pod: pod.pop("securityContext"), "root"),
        (lambda pod: pod["containers"][0]["securityContext"].update(runAsUser=0), "root"),
        (lambda pod: pod["securityContext"].update(seccompProfile={"type": "Unconfined"}), "seccomp"),
        (lambda pod: pod.pop("automountServiceAccountToken"), "api-token"),
        (lambda pod: pod.update(hostNetwork=True), "host"),
        (lambda pod: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "host"),
        (lambda pod: pod["containers"][0].update(ports=[{"containerPort": 1, "hostPort": 1}]), "host"),
        (lambda pod: pod["containers"][0].pop("resources"), "limits"),
        (lambda pod: pod["containers"][0]["resources"].pop("limits"), "limits"),
        (lambda pod: pod["containers"][0]["securityContext"].update(privileged=True), "privileged"),
        (lambda pod: pod["containers"][0].pop("securityContext"), "privileged"),
        (
            lambda pod: pod["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False),
            "hardening",
        ),
        (
            lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
            "hardening",
        ),
        (lambda pod: pod["containers"][0].update(env=[{"name": "RAY_AUTH_TOKEN", "value": "x"}]), "secret"),
        (
            lambda pod: pod.update(initContainers=[{**pod["containers"][0], "image": "busybox:latest"}]),
            "image",
        ),
    ],
)
@pytest.mark.parametrize("name", ["kuberay/local", "kuberay/local-job"])
def test_a_pod_that_violates_the_policy_is_refused(name: str, change: Change, error: str) -> None:
    manifest = copy.deepcopy(the_ray(name))
    change(head(manifest))
    assert f"head: {error}" in policy_errors(manifest)


def test_a_secret_and_a_submitter_with_an_api_token_are_refused() -> None:
    assert policy_errors({"kind": "Secret"}) == ["manifest: secret"]
    manifest = copy.deepcopy(the_ray("kuberay/local-job"))
    manifest["spec"]["submitterPodTemplate"]["spec"].pop("automountServiceAccountToken")
    assert policy_errors(manifest) == ["submitter: api-token"]


def test_only_the_head_of_an_autoscaled_cluster_may_use_the_kubernetes_api() -> None:
    manifest = copy.deepcopy(the_ray("kuberay/cluster"))
    assert head(manifest)["automountServiceAccountToken"] is True
    manifest["spec"]["enableInTreeAutoscaling"] = False
    assert policy_errors(manifest) == ["head: api-token"]


@pytest.mark.parametrize("name", ["kuberay/local", "kuberay/local-job"])
def test_an_unknown_field_is_refused(name: str) -> None:
    manifest = copy.deepcopy(the_ray(name))
    head(manifest)["containers"][0]["imagee"] = "x"
    assert any("imagee" in error for error in kuberay.schema_errors(manifest))
    manifest = copy.deepcopy(the_ray(name)) | {"specc": {}}
    assert any("specc" in error for error in kuberay.schema_errors(manifest))


def test_an_unknown_field_of_a_kubernetes_object_is_refused() -> None:
    manifest = copy.deepcopy(next(m for m in rendered("mlflow/local") if m["kind"] == "Deployment"))
    manifest["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        validate(json.dumps(manifest))
