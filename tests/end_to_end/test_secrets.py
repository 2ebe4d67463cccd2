"""No secret leaks: a run with recognisable secrets, then a search through every file that it wrote."""

import base64
import ipaddress
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.ray_nodes import environment
from tests.end_to_end.servers import answers
from tests.processes import descendants, free_port, kill_tree, wait_until

pytestmark = pytest.mark.slow

SPEC = """
name: small
backbones: [mini_resnet.supervised, mini_resnet.random]
tasks: [knn@digits]
search: {num_trials: 1}
budget: quick
seeds: [0]
"""
PLANTED = {
    name: f"{name.lower().replace('_', '-')}-{secrets.token_hex(12)}"
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "RAY_AUTH_TOKEN",
    )
}
IN_URI = f"uri-{secrets.token_hex(12)}"


def listening(process: int) -> set[str]:
    """Addresses that a process and its descendants listen on."""
    inodes = set()
    for number in [process, *descendants(process)]:
        for link in Path(f"/proc/{number}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:  # Closed in the meantime.
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(parse_address(fields[1].partition(":")[0]))
    return addresses


def parse_address(words: str) -> str:
    """IP address from the kernel's 32-bit words in the machine's byte order."""
    raw = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
    address = ipaddress.ip_address(raw)
    return str(getattr(address, "ipv4_mapped", None) or address)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(Folder with everything a run wrote, addresses it listened on); MLflow is a real server."""
    folder = tmp_path_factory.mktemp("secrets")
    port = free_port()
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        folder / "artifacts",
    ]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *stores],
            stdout=log,
            stderr=log,
            env=environment(),
            start_new_session=True,
        )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "the MLflow server answers")
        (folder / "small.yaml").write_text(SPEC)
        command = [sys.executable, "-m", "raybench.cli", "run", folder / "small.yaml", "--num-cpus", "2"]
        command += ["--storage", folder / "storage"]
        uri = f"http://somebody:{IN_URI}@127.0.0.1:{port}"
        variables = {
            **environment(),
            **PLANTED,
            "MLFLOW_TRACKING_USERNAME": "somebody",
            "RAY_AUTH_MODE": "token",
        }
        with (folder / "output").open("wb") as output:
            driver = subprocess.Popen(
                command, stdout=output, stderr=output, env=variables | {"MLFLOW_TRACKING_URI": uri}
            )
        addresses = set()
        while driver.poll() is None:
            addresses |= listening(driver.pid)
            time.sleep(2)
        assert driver.returncode == 0, (folder / "output").read_text()
    finally:
        kill_tree(server)
    return folder, addresses


def leaks(folder: Path, secret: str) -> list[str]:
    """Files that contain a secret, in clear or encoded as in HTTP basic authentication."""
    encoded = base64.b64encode(f"somebody:{secret}".encode())
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return [
        str(file) for file in files if secret.encode() in (content := file.read_bytes()) or encoded in content
    ]


@pytest.mark.parametrize("name", [*PLANTED, "uri"])
def test_no_file_database_or_output_contains_the_secret(run, name):
    folder, _ = run
    assert leaks(folder, PLANTED.get(name, IN_URI)) == []


def test_the_searched_files_are_complete(run):
    """Otherwise the search would prove nothing."""
    folder, _ = run
    for part in (
        "server.db",
        "output",
        "storage/measurements",
        "storage/experiments/small/recipes",
        "artifacts",
    ):
        assert (folder / part).exists(), part
    assert "mini_resnet" in (folder / "output").read_text()
    assert "127.0.0.1" in (folder / "output").read_text()  # The server's address, without its credentials.
    assert leaks(folder, "mini_resnet.supervised")


def test_a_run_listens_on_loopback_only(run):
    _, addresses = run
    assert addresses, "Ray listens on ports, but none was seen"
    assert {address for address in addresses if not ipaddress.ip_address(address).is_loopback} == set()
