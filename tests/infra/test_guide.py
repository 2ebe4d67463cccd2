"""The commands of infra/README.md, compared with the manifests, files and programs that they refer to."""

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from raybench.cli import _parser
from tests.infra.guide import GUIDE, STUBS, Followed, blocks, follow
from tests.infra.policy import INFRA, ROOT, containers, kustomized, pod_templates
from tests.infra.test_compose import REQUIRED_VARIABLES, SERVICES
from tests.infra.test_manifests import CREATED_BY_USER, OPTIONS, RENDERINGS, rendered, the_ray

KINDS = {
    "raycluster": "RayCluster",
    "rayjob": "RayJob",
    "statefulset": "StatefulSet",
    "deployment": "Deployment",
    "service": "Service",
    "cronjob": "CronJob",
    "configmap": "ConfigMap",
    "job": "Job",
    "persistentvolumeclaim": "PersistentVolumeClaim",
    "namespace": "Namespace",
}
IMPLICIT_KEYS = {
    "raybench-mlflow": {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"},
    "raybench-storage": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "raybench-ray-token": {"auth_token"},
}
"""Secrets whose keys no manifest names: used with `envFrom`, or known to KubeRay."""


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """All commands of the guide in order, with curl also stubbed."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("infra", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".env"))
    result = follow("".join(blocks()), folder, stubs=(*STUBS, "curl"))
    environment = folder / "infra" / ".env"
    assert environment.stat().st_mode & 0o077 == 0, "other users can read the passwords"
    lines = dict(line.split("=") for line in environment.read_text().splitlines())
    assert set(lines) == set(REQUIRED_VARIABLES.findall((INFRA / "compose.yaml").read_text()))
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in lines.values())
    assert len(set(lines.values())) == len(lines)
    return result


def all_manifests() -> list[dict[str, Any]]:
    return [manifest for name in RENDERINGS for manifest in rendered(name)]


def existing_objects() -> set[tuple[str, str]]:
    """(kind, name) of every applied object, and of objects that controllers create from them."""
    manifests = all_manifests()
    objects = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    objects |= {("Service", f"{name}-head-svc") for kind, name in objects if kind == "RayCluster"}
    objects |= {("Job", name) for kind, name in objects if kind == "RayJob"}  # KubeRay's submitter.
    for manifest in manifests:
        for claim in manifest.get("spec", {}).get("volumeClaimTemplates", []):
            name = f"{claim['metadata']['name']}-{manifest['metadata']['name']}-0"
            objects.add(("PersistentVolumeClaim", name))
    return objects


def test_every_named_file_exists() -> None:
    text = GUIDE.read_text()
    named = set(re.findall(r"(?<![\w/.-])(?:infra|experiments|tests)/[\w./-]*\w", text)) - {"infra/.env"}
    named |= {f"infra/{link}" for link in re.findall(r"\]\(([^#)]+)\)", text)}
    named |= {
        f"infra/{path}" for path in re.findall(r"`((?:kuberay|mlflow)/[\w./-]+|compose[\w.]*yaml)`", text)
    }
    assert len(named) > 15
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_drill_selects_a_test() -> None:
    drills = re.findall(r"`(tests/[\w/]+\.py)(?: -k (\w+))?`", GUIDE.read_text())
    assert len([expression for _, expression in drills if expression]) > 8
    for file, expression in drills:
        assert re.search(rf"^ *def test_\w*{expression}", (ROOT / file).read_text(), re.MULTILINE), expression


def kubectl_error(*arguments: str) -> str:
    """kubectl's error for these arguments; empty if verb and options exist. `--help` contacts no server."""
    done = subprocess.run(["kubectl", *arguments, "--help"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_kubectl_knows_every_verb_and_option(followed: Followed) -> None:
    # One call per verb and set of options is enough.
    calls = {tuple(a for a in call if a[0] == "-" or a == call[0]): call for call in followed.of("kubectl")}
    refused = {" ".join(call): kubectl_error(*call) for call in calls.values()}
    assert {command: reason for command, reason in refused.items() if reason} == {}
    assert "unknown flag" in kubectl_error("wait", "job/x", "--foor=condition=complete")


def test_applied_folders_are_among_the_checked_renderings(followed: Followed) -> None:
    folders = {folder for folder, _ in RENDERINGS.values()}
    applied = followed.of("kubectl", "apply", "-k")
    assert len(applied) >= 4
    assert {ROOT / folder for (folder,) in applied} <= folders
    (file,) = [arguments[-1] for arguments in followed.of("kubectl", "apply", "-f")]
    assert yaml.safe_load((ROOT / file).read_text())["metadata"]["name"] == "raybench"


def test_every_named_object_exists(followed: Followed) -> None:
    created = {*followed.created, *(("Job", call[0]) for call in followed.of("kubectl", "create", "job"))}
    named = {
        (KINDS[kind], name)
        for call in followed.of("kubectl")
        for argument in call
        for kind, name in re.findall(r"^(?:--from=)?([a-z]+)/([\w.-]+)$", argument)
    }
    assert len(named) > 8
    assert named <= existing_objects() | created
    namespaces = {m["metadata"]["namespace"] for m in all_manifests() if m["kind"] != "Namespace"}
    assert followed.of("kubectl", "config") == [
        ["set-context", "--current", f"--namespace={name}"] for name in namespaces
    ]


def test_forwarded_ports_exist_on_the_services(followed: Followed) -> None:
    ports = {
        f"service/{m['metadata']['name']}": {str(port["port"]) for port in m["spec"]["ports"]}
        for m in rendered("mlflow/local")
        if m["kind"] == "Service"
    }
    (policy,) = [m for m in rendered("kuberay/local") if m["kind"] == "NetworkPolicy"]
    ports["service/raybench-head-svc"] = {str(policy["spec"]["ingress"][1]["ports"][0]["port"])}
    forwarded = followed.of("kubectl", "port-forward")
    assert {service for service, _ in forwarded} == {"service/mlflow", "service/raybench-head-svc"}
    assert all(port in ports[service] for service, port in forwarded)


def images(name: str) -> set[str]:
    pods = [t["spec"] for manifest in rendered(name) for t in pod_templates(manifest).values()]
    return {c["image"] for pod in pods for c in containers(pod) if c["image"].startswith("raybench")}


def test_running_images_are_built_and_loaded(followed: Followed) -> None:
    built = {call[call.index("-t") + 1] for call in followed.of("docker", "build")}
    assert built == {image for name in RENDERINGS for image in images(name)}
    assert {s["image"] for s in SERVICES.values() if s["image"].startswith("raybench")} <= built
    (load,) = followed.of("kind", "load", "docker-image")
    assert set(load[: load.index("--name")]) == images("kuberay/local") | images("mlflow/local")
    recipe = (ROOT / "Dockerfile").read_text()
    for call in followed.of("docker", "build"):
        stages = [call[i + 1] for i, argument in enumerate(call) if argument == "--target"]
        assert set(stages) <= set(re.findall(r"^FROM \S+ AS (\w+)$", recipe, re.MULTILINE))
        build_arguments = {argument.partition("=")[0] for argument in call if re.match(r"[A-Z_]+=", argument)}
        assert build_arguments <= set(re.findall(r"^ARG (\w+)", recipe, re.MULTILINE))


def test_created_secrets_have_exactly_the_keys_that_are_read(followed: Followed) -> None:
    created = {name: set(data) for (kind, name), data in followed.created.items() if kind == "Secret"}
    read: dict[str, set[str]] = dict(IMPLICIT_KEYS)
    for manifest in all_manifests():
        for template in pod_templates(manifest).values():
            for container in containers(template["spec"]):
                for entry in container.get("env", []):
                    if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                        read.setdefault(reference["name"], set()).add(reference["key"])
    assert created == read
    created_names = {(kind, name) for kind, name in followed.created}
    assert created_names == {entry for entry in CREATED_BY_USER if entry[0] != "PersistentVolumeClaim"}
    assert the_ray("kuberay/local")["spec"]["authOptions"]["secretName"] in created


def test_secrets_are_random_and_in_no_argument_list(followed: Followed) -> None:
    secrets = [
        base64.b64decode(value).decode()
        for (kind, name), data in followed.created.items()
        if kind == "Secret" and name != "raybench-storage"
        for key, value in data.items()
        if key not in {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"}
    ]
    assert len(set(secrets)) == len(secrets) >= 7
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)
    assert not [call for call in followed.calls if any(secret in " ".join(call) for secret in secrets)]


def test_jobs_use_the_address_of_the_mlflow_service(followed: Followed) -> None:
    data = followed.created["Secret", "raybench-mlflow"]
    (service,) = [
        m for m in rendered("mlflow/local") if m["metadata"]["name"] == "mlflow" and m["kind"] == "Service"
    ]
    uri = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert base64.b64decode(data["MLFLOW_TRACKING_URI"]).decode() == uri


def test_the_command_line_accepts_every_raybench_command(followed: Followed) -> None:
    direct = followed.of("raybench")
    submitted = [call[call.index("--") + 1 :] for call in followed.of("ray", "job", "submit")]
    assert all(command[0] == "raybench" for command in submitted)
    commands = [*direct, *(command[1:] for command in submitted)]
    commands += [
        text.split() for text in re.findall(r"`raybench ((?:track|rank|run) [^`]+)`", GUIDE.read_text())
    ]
    entrypoint = the_ray("kuberay/local-job")["spec"]["entrypoint"]
    commands.append(entrypoint.split()[1:])
    assert len(commands) >= 6
    for command in commands:
        _parser().parse_args(command)
        for argument in command:
            if argument.startswith("experiments/"):
                assert (ROOT / argument).is_file()


def test_ray_accepts_every_submission(followed: Followed) -> None:
    from ray.dashboard.modules.job.cli import submit

    for arguments in followed.of("ray", "job", "submit"):
        context = submit.make_context("submit", list(arguments))
        assert context.params["entrypoint"][0] == "raybench"


def test_compose_commands_use_existing_files_and_services(followed: Followed) -> None:
    calls = followed.of("docker", "compose", "-f", "infra/compose.yaml")
    assert {call[0] for call in calls} == {"up", "exec", "down"}
    (exec_call,) = [call for call in calls if call[0] == "exec"]
    assert exec_call[2] in SERVICES
    assert f"--username={SERVICES[exec_call[2]]['environment']['POSTGRES_USER']}" in exec_call


def test_the_example_overlay_renders(tmp_path: Path) -> None:
    (block,) = blocks("yaml")
    content = yaml.safe_load(block)
    assert [Path(path).name for path in content["components"]] == [*OPTIONS["cluster"], "job"]
    shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns(".env"))
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "kustomization.yaml").write_text(block)
    (job,) = [m for m in kustomized(tmp_path / "deploy") if m["kind"] == "RayJob"]
    (image,) = {c["image"] for t in pod_templates(job).values() for c in t["spec"]["containers"]}
    assert image == "registry.example.com/vision/raybench:0.1.0"


def test_every_component_is_described() -> None:
    described = re.findall(r"^\| `([\w-]+)` \|", GUIDE.read_text(), re.MULTILINE)
    assert described == [*OPTIONS["cluster"], "job"]
    folders = {path.name for path in (INFRA / "kuberay" / "components").iterdir()}
    assert folders == set(described)


def test_the_guide_states_the_pods_resource_requests() -> None:
    def amount(quantity: str) -> float:
        number, unit = re.fullmatch(r"(\d+)(m|Mi|Gi|)", quantity).groups()
        return int(number) * {"m": 1 / 1000, "Mi": 1 / 1024, "Gi": 1, "": 1}[unit]

    requested = {"cpu": 0.0, "memory": 0.0}
    for name in ("kuberay/local", "mlflow/local"):
        for manifest in rendered(name):
            templates = pod_templates(manifest) if manifest["kind"] != "CronJob" else {}
            for template in templates.values():
                for kind in requested:
                    requests = template["spec"]["containers"][0]["resources"]["requests"]
                    requested[kind] += amount(requests[kind])
    stated = re.search(r"ask for ([\d.]+) CPUs and ([\d.]+) GiB", GUIDE.read_text())
    assert [float(number) for number in stated.groups()] == [
        round(requested[kind] + 0.0499, 1) for kind in requested
    ]


def test_kuberays_version_is_the_checked_one() -> None:
    text = GUIDE.read_text()
    kuberay = set(re.findall(r"KubeRay (\d+\.\d+\.\d+)", text)) | set(
        re.findall(r"ref=v(\d+\.\d+\.\d+)", text)
    )
    assert kuberay == {"1.7.0"}
