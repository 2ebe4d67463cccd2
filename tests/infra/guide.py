"""The commands of infra/README.md, run with stand-ins for what is not here: a cluster, an engine, Ray.

A stand-in writes down what it was called with. Secrets and ConfigMaps are really made, by kubectl alone.
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
STANDS_IN = ("docker", "kind", "ray", "raybench")
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
# Reads what is piped to it: else who writes may be killed by the closed pipe.
%s() { cat > /dev/null; record %s "$@"; }
"""


def blocks(language: str = "bash") -> list[str]:
    """The guide's blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@dataclass
class Followed:
    """What came of following commands."""

    calls: list[list[str]]
    """Every call of a program that has a stand-in, kubectl among them: its name and arguments."""
    created: dict[tuple[str, str], dict[str, str]]
    """(kind, name) → data of the Secrets and ConfigMaps, in base64 for a Secret."""

    def of(self, *start: str) -> list[list[str]]:
        """What follows `start` in each call that begins so."""
        return [call[len(start) :] for call in self.calls if call[: len(start)] == list(start)]


def follow(
    text: str, folder: Path, *, stored_secret: str = "x", stands_in: tuple[str, ...] = STANDS_IN
) -> Followed:
    """Run commands in `folder`.

    Args:
        text: what the guide says, or a part of it.
        stored_secret: the value of every key of every Secret that `kubectl get secret` is asked for.
        stands_in: programs that are not run.
    """
    for program in {"bash", "curl", "kubectl", "openssl"} - set(stands_in):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    calls, created = folder / "calls", folder / "created.yaml"
    calls.touch()
    created.touch()
    script = SHELL + "".join(RECORDED % (name, name) for name in stands_in) + text + "\nwait\n"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "CALLS": str(calls),
            "CREATED": str(created),
            "STORED_SECRET": stored_secret,
            # What a person brings.
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
