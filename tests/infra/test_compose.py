"""infra/compose.yaml: valid, same security policy as the pods, consistent with infra/mlflow.

These tests do not need a Docker engine and start nothing.
"""

import copy
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.policy import INFRA, PINNED_IMAGE, SECRET_NAME
from tests.infra.test_mlflow import named, pods, settings

FILES = ["compose.yaml", "compose.gpu.yaml"]
REQUIRED_VARIABLES = re.compile(r"\$\{(\w+):\?[^}]+\}")
ONCE = {"bucket", "mlflow-migrate", "mlflow-migrate-users"}
"""Services that run once and end."""

RAY = {"ray-head", "ray-worker"}
"""Services whose image has the health check."""


def compose(file: str = "compose.yaml") -> dict[str, Any]:
    return yaml.safe_load((INFRA / file).read_text())


SERVICES = compose()["services"]


def check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def service_errors(service: dict[str, Any]) -> set[str]:
    """Policy violations of a service, in the words of `pod_errors`."""
    return set(_service_errors(service))


def _service_errors(service: dict[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(service.get("user", ""))):
        yield "root"
    if not PINNED_IMAGE.match(service["image"]):
        yield "image"
    no_new = "no-new-privileges:true" in service.get("security_opt", [])
    if not no_new or service.get("privileged") or service.get("cap_add"):
        yield "privileged"
    if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
        yield "hardening"
    if not {"cpus", "mem_limit"} <= set(service):
        yield "limits"
    if {"network_mode", "pid", "ipc", "userns_mode"} & set(service):
        yield "host"
    if any(
        volume.startswith((".", "~")) or re.match("/.*:", volume) for volume in service.get("volumes", [])
    ):
        yield "host"  # A folder of the host, such as Docker's socket.
    if any(not port.startswith("127.0.0.1:") for port in service.get("ports", [])):
        yield "port"
    for name, value in service.get("environment", {}).items():
        is_named_secret = SECRET_NAME.search(name) and name != "RAY_AUTH_MODE"
        if is_named_secret and not REQUIRED_VARIABLES.fullmatch(value):
            yield "secret"


@pytest.mark.parametrize("file", FILES)
def test_the_file_is_valid_for_the_compose_specification(file: str) -> None:
    done = check(INFRA / file)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("old", "new"), [("mem_limit:", "memory_limit:"), ("    ports: [", "    port: [")])
def test_an_unknown_field_is_refused(tmp_path: Path, old: str, new: str) -> None:
    changed = tmp_path / "compose.yaml"
    changed.write_text((INFRA / "compose.yaml").read_text().replace(old, new))
    done = check(changed)
    assert done.returncode == 1
    assert new.strip(" :[") in done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_obeys_the_policy(name: str) -> None:
    assert service_errors(SERVICES[name]) == set()


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda service: service.update(image="raybench"), "image"),
        (lambda service: service.update(image="raybench:latest"), "image"),
        (lambda service: service.pop("user"), "root"),
        (lambda service: service.update(user="0:0"), "root"),
        (lambda service: service.update(user="raybench"), "root"),
        (lambda service: service.update(privileged=True), "privileged"),
        (lambda service: service.update(cap_add=["SYS_ADMIN"]), "privileged"),
        (lambda service: service.update(cap_drop=[]), "hardening"),
        (lambda service: service.update(read_only=False), "hardening"),
        (lambda service: service.pop("mem_limit"), "limits"),
        (lambda service: service.update(network_mode="host"), "host"),
        (lambda service: service.update(volumes=["/var/run/docker.sock:/var/run/docker.sock"]), "host"),
        (lambda service: service.update(ports=["8265:8265"]), "port"),
        (lambda service: service.update(ports=["0.0.0.0:8265:8265"]), "port"),
        (lambda service: service["environment"].update(RAY_AUTH_TOKEN="x"), "secret"),
        (lambda service: service["environment"].update(RAY_AUTH_TOKEN="${RAY_AUTH_TOKEN:-x}"), "secret"),
    ],
)
def test_a_service_that_violates_the_policy_is_refused(change: Change, error: str) -> None:
    service = copy.deepcopy(SERVICES["ray-head"])
    change(service)
    assert service_errors(service) == {error}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_or_runs_once(name: str) -> None:
    service = SERVICES[name]
    assert ("healthcheck" in service) == (name not in ONCE | RAY)
    assert (service["restart"] == "on-failure:3") == (name in ONCE)
    for other, condition in service.get("depends_on", {}).items():
        ends = condition["condition"] == "service_completed_successfully"
        assert ends == (other in ONCE)
        assert ends or condition["condition"] == "service_healthy"


def test_the_example_names_exactly_the_required_variables_without_values() -> None:
    text = (INFRA / ".env.example").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Z_]+=", line) for line in lines)
    assert {line[:-1] for line in lines} == set(
        REQUIRED_VARIABLES.findall((INFRA / "compose.yaml").read_text())
    )
    ignored = (INFRA.parent / ".gitignore").read_text().splitlines()
    assert "infra/.env" in {line.strip("/") for line in ignored}


def test_only_ray_and_mlflow_are_published_and_the_database_is_on_an_internal_network() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"ray-head", "mlflow"}
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert {name for name, joined in networks.items() if "front" in joined} == {*RAY, "mlflow"}
    assert all(networks[name] == {"back"} for name in ("mlflow-postgres", "mlflow-s3"))
    assert compose()["networks"]["back"] == {"internal": True}


def test_mlflow_starts_with_the_same_command_as_on_kubernetes() -> None:
    pod = pods("local")["mlflow"]["spec"]
    values = settings("local")
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], a) for a in pod["containers"][0]["args"]
    ]

    def without_hosts(command: list[str]) -> list[str]:
        return [argument for argument in command if not argument.startswith("--allowed-hosts=")]

    service = SERVICES["mlflow"]
    assert without_hosts(service["command"]) == without_hosts(arguments)
    (hosts,) = set(service["command"]) - set(without_hosts(service["command"]))
    for name in ("mlflow", "localhost", "127.0.0.1"):
        assert {name, f"{name}:*"} <= set(hosts.partition("=")[2].split(","))
    for step in pod["initContainers"]:
        expected = [re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], a) for a in step["args"]]
        assert SERVICES[f"mlflow-{step['name']}"]["command"] == expected
    names = {entry["name"] for entry in pod["containers"][0]["env"]} | set(values)
    assert set(service["environment"]) == names - {"DATABASE_URI", "ARTIFACTS_DESTINATION"}


def test_images_equal_those_on_kubernetes() -> None:
    local = pods("local")
    for name, part in (("mlflow", "mlflow"), ("mlflow-postgres", "postgres"), ("mlflow-s3", "s3")):
        assert SERVICES[name]["image"] == local[part]["spec"]["containers"][0]["image"]
    postgres = named("local", "StatefulSet", "mlflow-postgres")["spec"]["template"]["spec"]
    user = postgres["securityContext"]["runAsUser"]
    assert SERVICES["mlflow-postgres"]["user"] == f"{user}:{user}"


def test_with_gpus_every_node_runs_the_gpu_image() -> None:
    changed = compose("compose.gpu.yaml")["services"]
    of_cpu = {name for name, service in SERVICES.items() if service["image"].endswith("-cpu")}
    assert set(changed) == of_cpu
    assert {service["image"] for service in changed.values()} == {"raybench:0.1.0"}
    (device,) = changed["ray-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
