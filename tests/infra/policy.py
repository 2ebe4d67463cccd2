"""The security policy for all pods, and functions that render and read manifests."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
PINNED_IMAGE = re.compile(r"^[\w./-]+:(?!latest\b)[\w.-]+(@sha256:[0-9a-f]{64})?$")
SECRET_NAME = re.compile("(?i)token|password|secret|key")
SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C loader if PyYAML has it: there are many renderings."""


def documents(text: str) -> list[dict[str, Any]]:
    """All documents of a YAML text."""
    loader, manifests = SAFE_LOADER(text), []
    while loader.check_data():
        manifests.append(loader.get_data())
    return manifests


def kustomized(folder: Path, *components: Path) -> list[dict[str, Any]]:
    """The manifests of `kubectl apply -k` for a folder, or for an overlay with additional components."""
    return documents(_kustomized(folder, *components))


@functools.cache
def _kustomized(folder: Path, *components: Path) -> str:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    with tempfile.TemporaryDirectory() as overlay:
        if components:  # kustomize accepts relative paths only.
            paths = [os.path.relpath(path, os.path.realpath(overlay)) for path in (folder, *components)]
            text = yaml.safe_dump({"resources": paths[:1], "components": paths[1:]})
            (Path(overlay) / "kustomization.yaml").write_text(text)
        command = ["kubectl", "kustomize", overlay if components else str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pod_templates(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Position → pod template of a workload (Kubernetes or Ray); empty if it has no pods."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "RayJob":
        cluster = pod_templates({"kind": "RayCluster", "spec": spec["rayClusterSpec"]})
        return {"submitter": spec["submitterPodTemplate"], **cluster}
    if manifest["kind"] == "RayCluster":
        groups = {f"worker {group['groupName']}": group["template"] for group in spec["workerGroupSpecs"]}
        return {"head": spec["headGroupSpec"]["template"], **groups}
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return {"pod": template} if template else {}


def containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def policy_errors(manifest: dict[str, Any]) -> list[str]:
    """Policy violations of a manifest's pods, as `position: violation`."""
    if manifest["kind"] == "Secret":
        return ["manifest: secret"]
    cluster = manifest.get("spec", {}).get("rayClusterSpec", manifest.get("spec", {}))
    # Ray's autoscaler is a container of the head and uses the Kubernetes API.
    may_use_api = {"head"} if cluster.get("enableInTreeAutoscaling") else set()
    return [
        f"{place}: {error}"
        for place, template in pod_templates(manifest).items()
        for error in pod_errors(template["spec"])
        if not (error == "api-token" and place in may_use_api)
    ]


def pod_errors(pod: dict[str, Any]) -> list[str]:
    """Policy violations in a pod's spec, one word each."""
    errors = []
    context = pod.get("securityContext", {})
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        errors.append("root")
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        errors.append("seccomp")
    if pod.get("automountServiceAccountToken", True):
        errors.append("api-token")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            errors.append("host")
    if any("hostPath" in volume for volume in pod.get("volumes", [])):
        errors.append("host")
    for container in containers(pod):
        errors.extend(_container_errors(container))
    return errors


def _container_errors(container: dict[str, Any]) -> Iterator[str]:
    if not PINNED_IMAGE.match(container["image"]):
        yield "image"
    context = container.get("securityContext", {})
    if context.get("privileged") or context.get("allowPrivilegeEscalation", True):
        yield "privileged"
    if context.get("runAsUser", 1) == 0 or context.get("runAsNonRoot") is False:
        yield "root"
    if context.get("capabilities", {}).get("drop") != ["ALL"] or not context.get("readOnlyRootFilesystem"):
        yield "hardening"
    if context.get("capabilities", {}).get("add"):
        yield "hardening"
    resources = container.get("resources", {})
    if any(not {"cpu", "memory"} <= set(resources.get(kind, {})) for kind in ("limits", "requests")):
        yield "limits"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "host"
    for entry in container.get("env", []):
        if SECRET_NAME.search(entry["name"]) and "value" in entry:
            yield "secret"
