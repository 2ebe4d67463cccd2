"""Run the commands of infra/README.md with stubs for the cluster, the container engine and Ray.

A stub records its arguments. Secrets and ConfigMaps are really created, by kubectl without a server.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.policy import INFRA

GUIDE = INFRA / "README.md"
STUBS = ("docker", "kind", "ray", "raybench")
SHELL = r"""
set -euo pipefail
record() { { printf '%s\x1f' "$@"; printf '\x1e'; } >> "$CALLS"; }
kubectl() {
    record kubectl "$@"
    case "$1 $2" in
        "create secret" | "create configmap")
            { command kubectl "$@" --dry-run=client --output=yaml; echo ---; } >> "$CREATED" ;;
        "get secret") printf '%s' "$STORED_SECRET" | base64 ;;
    esac
}
"""
RECORDED = r"""
# Read the piped input: otherwise the writer may be killed by the closed pipe.
%s() { cat > /dev/null; record %s "$@"; }
"""


def blocks(language: str = "bash") -> list[str]:
    """The guide's code blocks in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@dataclass
class Followed:
    """Result of running commands of the guide."""

    calls: list[list[str]]
    """Name and arguments of every call of a stubbed program, including kubectl."""
    created: dict[tuple[str, str], dict[str, str]]
    """(kind, name) → data of created Secrets and ConfigMaps, base64 for Secrets."""

    def of(self, *start: str) -> list[list[str]]:
        """The remaining arguments of each call that begins with `start`."""
        return [call[len(start) :] for call in self.calls if call[: len(start)] == list(start)]


def follow(text: str, folder: Path, *, stored_secret: str = "x", stubs: tuple[str, ...] = STUBS) -> Followed:
    """Run commands in `folder`.

    Args:
        text: commands of the guide.
        folder: working directory.
        stored_secret: value that `kubectl get secret` returns for every key.
        stubs: programs that are replaced.
    """
    for program in {"bash", "curl", "kubectl", "openssl"} - set(stubs):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    calls, created = folder / "calls", folder / "created.yaml"
    calls.touch()
    created.touch()
    script = SHELL + "".join(RECORDED % (name, name) for name in stubs) + text + "\nwait\n"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "CALLS": str(calls),
            "CREATED": str(created),
            "STORED_SECRET": stored_secret,
            # Set by the user.
            "TORCH_INDEX_URL": "x",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    manifests: list[dict[str, Any]] = [m for m in yaml.safe_load_all(created.read_text()) if m]
    return Followed(
        [call.split("\x1f")[:-1] for call in calls.read_text().split("\x1e")[:-1]],
        {(m["kind"], m["metadata"]["name"]): m["data"] for m in manifests},
    )
