"""Properties of MLflow's manifests; test_manifests.py checks schemas and policy.

tests/end_to_end/test_mlflow_command.py starts the server itself.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.servers import postgresql
from tests.infra.policy import INFRA, containers, kustomized, pod_templates

FOLDER = INFRA / "mlflow"
OVERLAYS = ["local", "cluster"]
NAMES = ["mlflow", "mlflow.raybench", "mlflow.raybench.svc", "mlflow.raybench.svc.cluster.local"]


def rendered(overlay: str) -> list[dict[str, Any]]:
    return kustomized(FOLDER / "overlays" / overlay)


def named(overlay: str, kind: str, name: str) -> dict[str, Any]:
    (manifest,) = [m for m in rendered(overlay) if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return manifest


def pods(overlay: str) -> dict[str, dict[str, Any]]:
    """Part → pod template."""
    templates = [t for manifest in rendered(overlay) for t in pod_templates(manifest).values()]
    return {template["metadata"]["labels"]["raybench.dev/part"]: template for template in templates}


def settings(overlay: str) -> dict[str, str]:
    (config,) = [m for m in rendered(overlay) if m["metadata"]["name"].startswith("mlflow-settings")]
    return config["data"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_uri_contains_a_password(overlay: str) -> None:
    for uri in re.findall(
        r"postgresql\+?\w*://\S+", "".join(p.read_text() for p in (FOLDER / "base").iterdir())
    ):
        assert uri == settings(overlay)["DATABASE_URI"]
        assert re.match(r"postgresql\+psycopg2://mlflow@", uri), "passwords belong in PGPASSWORD"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_in_a_command_is_defined(overlay: str) -> None:
    for template in pods(overlay).values():
        for container in containers(template["spec"]):
            defined = {entry["name"] for entry in container.get("env", [])}
            if "envFrom" in container:
                defined |= set(settings(overlay))
            used = re.findall(r"\$\((\w+)\)", " ".join(container.get("args", [])))
            assert set(used) <= defined


@pytest.mark.parametrize("name", [*NAMES, "localhost"])
def test_the_service_is_allowed_by_every_name_without_and_with_a_port(name: str) -> None:
    (container,) = pods("local")["mlflow"]["spec"]["containers"]
    (hosts,) = [a.partition("=")[2] for a in container["args"] if a.startswith("--allowed-hosts")]
    assert {name, f"{name}:*"} <= set(hosts.split(","))
    assert "*" not in hosts.split(",")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_has_network_policies_in_both_directions(overlay: str) -> None:
    policies = {
        m["spec"]["podSelector"]["matchLabels"]["raybench.dev/part"]: m["spec"]
        for m in rendered(overlay)
        if m["kind"] == "NetworkPolicy"
    }
    assert set(policies) == set(pods(overlay))
    for spec in policies.values():
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert all(rule["from"] and rule["ports"] for rule in spec.get("ingress", []))
        assert all(rule["to"] and rule["ports"] for rule in spec.get("egress", []))
    peers = [peer["podSelector"]["matchLabels"] for peer in policies["mlflow"]["ingress"][0]["from"]]
    assert peers == [{"raybench.dev/part": "ray"}, {"raybench.dev/submit": "true"}]
    assert policies["postgres"].get("egress", []) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_port_exists_on_its_pod(overlay: str) -> None:
    for service in (m["spec"] for m in rendered(overlay) if m["kind"] == "Service"):
        (pod,) = [p["spec"] for p in pods(overlay).values() if service["selector"] == p["metadata"]["labels"]]
        ports = {port.get("name"): port["containerPort"] for port in pod["containers"][0]["ports"]}
        for port in service["ports"]:
            assert port.get("targetPort", port["port"]) in {*ports, *ports.values()}


def test_migrations_run_before_the_server_and_never_beside_an_old_one() -> None:
    deployment = named("cluster", "Deployment", "mlflow")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    pod = deployment["template"]["spec"]
    assert [c["args"][0:3] for c in pod["initContainers"]] == [
        ["mlflow", "db", "upgrade"],
        ["python", "-m", "mlflow.server.auth"],
    ]
    assert len({container["image"] for container in containers(pod)}) == 1


def test_backup_and_restore_use_the_servers_postgresql_version() -> None:
    (restore,) = kustomized(FOLDER / "restore")
    templates = [pods("cluster")[part] for part in ("postgres", "backup")] + [restore["spec"]["template"]]
    assert len({template["spec"]["containers"][0]["image"] for template in templates}) == 1


@pytest.mark.slow
def test_a_backup_can_be_restored_and_a_failed_one_leaves_no_file(tmp_path: Path) -> None:
    """Run the scripts of the CronJob and of the restore Job on a real PostgreSQL."""
    (backup,) = pods("cluster")["backup"]["spec"]["containers"]
    (job,) = kustomized(FOLDER / "restore")
    (restore,) = job["spec"]["template"]["spec"]["containers"]
    with postgresql() as uri:
        user, password, host, port, name = re.findall(r"//(.*):(.*)@(.*):(.*)/(.*)", uri)[0]
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        environment = {"PATH": f"{binaries}:/usr/bin:/bin", "PGHOST": host, "PGPORT": port, "PGUSER": user}
        environment |= {"PGPASSWORD": password, "PGDATABASE": name, "BACKUPS": str(tmp_path)}

        def call(*command: str, **changed: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, env=environment | changed, capture_output=True, text=True, check=False
            )

        def numbers() -> str:
            return call("psql", "-At", "-c", "select number from runs").stdout

        assert call(*restore["command"], *restore["args"]).stderr == f"no mlflow-*.dump in {tmp_path}\n"
        assert call("psql", "-c", "create table runs as select 17 as number").returncode == 0
        done = call(*backup["command"], *backup["args"])
        assert done.returncode == 0, done.stderr
        (dump,) = tmp_path.glob("*.dump")
        assert call("psql", "-c", "update runs set number = 18").returncode == 0
        assert call(*backup["command"], *backup["args"], PGPASSWORD="wrong").returncode != 0
        assert list(tmp_path.glob("*.dump")) == [dump]
        older = tmp_path / "mlflow-20200101T000000Z.dump"
        older.write_bytes(b"damaged")
        failed = call(*restore["command"], *restore["args"], DUMP=str(older))
        assert failed.returncode != 0
        assert numbers() == "18\n"
        restored = call(*restore["command"], *restore["args"])
        assert (restored.returncode, restored.stdout) == (0, f"restored {dump}\n")
        assert numbers() == "17\n"
