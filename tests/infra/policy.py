"""What every pod of the project keeps to, and what its manifests are rendered and read with."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PINNED_IMAGE = re.compile(r"^[\w./-]+:(?!latest\b)[\w.-]+(@sha256:[0-9a-f]{64})?$")
SECRET_NAME = re.compile("(?i)token|password|secret|key")


def kustomized(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k FOLDER` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def pod_template(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The pod template of a Deployment, StatefulSet, Job or CronJob; None for what has no pods."""
    spec = manifest.get("spec", {})
    return spec.get("jobTemplate", {}).get("spec", spec).get("template")


def containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def pod_errors(pod: dict[str, Any]) -> list[str]:
    """What in a pod's spec breaks the policy, one word each; none for a pod that may run."""
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
    if context.get("capabilities", {}).get("drop") != ["ALL"] or not context.get("readOnlyRootFilesystem"):
        yield "hardening"
    resources = container.get("resources", {})
    if any(not {"cpu", "memory"} <= set(resources.get(kind, {})) for kind in ("limits", "requests")):
        yield "limits"
    for entry in container.get("env", []):
        if SECRET_NAME.search(entry["name"]) and "value" in entry:
            yield "secret"
