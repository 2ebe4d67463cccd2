"""Secrets stay secret: a run with recognisable ones, after which every byte it has left is looked through."""

import base64
import ipaddress
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.end_to_end.ray_nodes import descendants, environment, free_port, kill_tree

pytestmark = pytest.mark.slow

SPEC = """
name: small
backbones: [mini_resnet.supervised, mini_resnet.random]
tasks: [knn@digits]
search: {num_trials: 1}
budget: quick
seeds: [0]
"""
START_SECONDS = 300
"""Of MLflow's server, whose imports alone take a minute on a busy machine."""
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
    """Addresses that a process and those below it listen on."""
    inodes = set()
    for number in [process, *descendants(process)]:
        for link in Path(f"/proc/{number}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:  # It has ended meanwhile.
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(address(fields[1].partition(":")[0]))
    return found


def address(words: str) -> str:
    """The kernel writes an address as 32-bit words in the machine's byte order."""
    raw = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
    known = ipaddress.ip_address(raw)
    return str(getattr(known, "ipv4_mapped", None) or known)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(Folder with all that a run has left, addresses it listened on): against a real MLflow server."""
    folder = tmp_path_factory.mktemp("secrets")
    port = free_port()
    place = [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        folder / "artifacts",
    ]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *place],
            stdout=log,
            stderr=log,
            env=environment(),
            start_new_session=True,
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/health")
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


def wait_until_it_answers(url: str) -> None:
    """Its port is open some seconds before."""
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            return urllib.request.urlopen(url, timeout=30).close()
        except OSError:
            assert time.monotonic() < give_up
            time.sleep(0.5)


def leaks(folder: Path, secret: str) -> list[str]:
    """Files that hold a secret, in clear or as HTTP's basic authentication spells it."""
    spelled = base64.b64encode(f"somebody:{secret}".encode())
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return [str(file) for file in files if secret.encode() in (held := file.read_bytes()) or spelled in held]


@pytest.mark.parametrize("name", [*PLANTED, "uri"])
def test_no_file_nor_the_database_nor_the_terminal_holds_it(run, name):
    folder, _ = run
    assert leaks(folder, PLANTED.get(name, IN_URI)) == []


def test_what_was_looked_through_is_all_there(run):
    """The search would be worth nothing on a run that tracked nothing and printed nothing."""
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
    assert "127.0.0.1" in (folder / "output").read_text()  # Of the server's address, all but the credentials.
    assert leaks(folder, "mini_resnet.supervised")


def test_a_run_listens_on_loopback_only(run):
    _, addresses = run
    assert addresses, "Ray has servers; none was seen"
    assert {address for address in addresses if not ipaddress.ip_address(address).is_loopback} == set()
