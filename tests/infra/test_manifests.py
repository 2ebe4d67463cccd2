"""The KubeRay manifests, rendered and checked strictly; no cluster has run them here."""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CRD = ROOT.parent / "shared" / "crds" / "ray.io_rayclusters.yaml"
OVERLAYS = ["local", "cluster"]


def rendered(overlay: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    folder = ROOT / "infra" / "kuberay" / "overlays" / overlay
    text = subprocess.run(
        ["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True
    ).stdout
    return list(yaml.safe_load_all(text))


def cluster(overlay: str) -> dict[str, Any]:
    (found,) = [item for item in rendered(overlay) if item["kind"] == "RayCluster"]
    return found


def strict(schema: Any) -> Any:
    """The schema with unknown fields refused and fields that have a default no longer required."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    fields = made.get("properties")
    if isinstance(fields, dict) and "type" in made:
        made["required"] = [name for name in made.get("required", []) if "default" not in fields[name]]
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made


def schema_errors(manifest: dict[str, Any]) -> list[str]:
    if not CRD.exists():
        pytest.skip("the schemas of KubeRay (../shared/crds) are absent")
    versions = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1"]
    checker = jsonschema.Draft202012Validator(strict(schema["properties"]["spec"]))
    return [error.message for error in checker.iter_errors(manifest["spec"])]


def policy_errors(manifest: dict[str, Any]) -> list[str]:
    errors, spec = [], manifest["spec"]
    pinned = re.search(r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert pinned
    if spec["rayVersion"] != pinned[1]:
        errors.append("rayVersion")
    if spec.get("authOptions", {}).get("mode") != "token":
        errors.append("authentication")
    pods = [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    if len(images) != 1 or any(not re.search(r":(?!latest$)[\w.-]+$", image) for image in images):
        errors.append("image")
    for pod in pods:
        if not pod["securityContext"].get("runAsNonRoot") or not pod["securityContext"].get("runAsUser"):
            errors.append("root")
        if pod["restartPolicy"] != "Never":
            errors.append("restartPolicy")
        for container in pod["containers"]:
            context = container["securityContext"]
            if context.get("privileged") or context["allowPrivilegeEscalation"]:
                errors.append("privileged")
            if context["capabilities"]["drop"] != ["ALL"] or not context["readOnlyRootFilesystem"]:
                errors.append("hardening")
            if not {"cpu", "memory"} <= set(container["resources"].get("limits", {})):
                errors.append("limits")
            if any(
                re.search("(?i)token|password|secret|key", entry["name"]) and "value" in entry
                for entry in container.get("env", [])
            ):
                errors.append("secret")
    return errors


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_valid_and_keeps_the_policy(overlay: str) -> None:
    manifest = cluster(overlay)
    assert schema_errors(manifest) == []
    assert policy_errors(manifest) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_ports_of_ray_are_not_open_to_the_world(overlay: str) -> None:
    (policy,) = [item for item in rendered(overlay) if item["kind"] == "NetworkPolicy"]
    spec, groups = policy["spec"], cluster(overlay)["spec"]
    assert all(rule.get("from") for rule in spec["ingress"])
    wanted = spec["podSelector"]["matchLabels"].items()
    for group in (groups["headGroupSpec"], *groups["workerGroupSpecs"]):
        assert wanted <= group["template"]["metadata"]["labels"].items()


def test_no_secret_is_among_the_manifests() -> None:
    assert "Secret" not in {item["kind"] for overlay in OVERLAYS for item in rendered(overlay)}


def test_an_unknown_field_is_refused() -> None:
    manifest = copy.deepcopy(cluster("local"))
    manifest["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    assert any("imagee" in error for error in schema_errors(manifest))


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        (("containers", 0, "image"), "raybench:latest", "image"),
        (("containers", 0, "image"), "raybench", "image"),
        (("securityContext", "runAsUser"), 0, "root"),
        (("containers", 0, "resources"), {}, "limits"),
        (("containers", 0, "securityContext", "privileged"), True, "privileged"),
        (("containers", 0, "env"), [{"name": "RAY_AUTH_TOKEN", "value": "x"}], "secret"),
        (("restartPolicy",), "Always", "restartPolicy"),
    ],
)
def test_a_bad_manifest_is_refused(field: tuple[Any, ...], value: Any, error: str) -> None:
    manifest = copy.deepcopy(cluster("local"))
    place = manifest["spec"]["headGroupSpec"]["template"]["spec"]
    for key in field[:-1]:
        place = place[key]
    place[field[-1]] = value
    assert error in policy_errors(manifest)
