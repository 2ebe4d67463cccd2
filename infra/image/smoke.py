"""Smoke tests of a finished image: commands that must work, and files that it must not contain.

As in the pods of infra/, commands run as the image's user on a read-only root; only /tmp, /home/raybench,
/storage and /cache are writable, in memory. The only network is a separate loopback interface.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.image.dockerfile import Stage
from infra.image.roots import Mount, Root

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
WRITABLE = ("/tmp", "/home/raybench", "/storage", "/cache")
HEALTH_SECONDS = 180
"""Limit for a server's first answer; 16 to 27 s were measured on two busy cores."""
WEIGHTS = re.compile(r"\.(safetensors|ckpt|pth?|onnx|gguf)$")
WEIGHTS_BYTES = 100_000
"""Smaller files are Python's .pth files and test files of libraries."""
OWN_WEIGHTS = "raybench/backbones/mini/weights/"
FORBIDDEN = re.compile(
    r"(^|/)(\.git|\.env|\.netrc|\.pypirc|pip\.conf|auth_token|id_(rsa|ecdsa|ed25519))$|^root/\.cache/.|^build/"
    r"|site-packages/tests?/__init__\.py$|site-packages/raybench/tests"
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A finished stage."""

    stages: list[Stage]
    """The stage and the stages below it, topmost first."""
    root: Root
    variables: dict[str, str]
    user: str
    folder: str

    def check(
        self, shell: str, *, pattern: str = "", code: int = 0, mounts: tuple[Mount, ...] = ()
    ) -> str | None:
        """Run a shell line; return the problem, or None if exit code and output are as expected."""
        started = time.monotonic()
        done = self.root.run(
            ["/bin/bash", "-c", shell],
            variables=self.variables,
            user=self.user,
            folder=self.folder,
            mounts=(*(Mount(target=target) for target in WRITABLE), *mounts),
            has_network=False,
        )
        lines = done.stdout.splitlines() or [""]
        is_ok = done.returncode == code and re.search(pattern, done.stdout)
        print(f"  {'ok ' if is_ok else 'BAD'} {time.monotonic() - started:4.0f} s  {shell:.90}")
        if is_ok:
            matching = [line for line in lines if pattern and re.search(pattern, line)]
            print(f"              → {(matching or lines)[-1]:.100}")
            return None
        print("\n".join(f"       {line}" for line in lines[-15:]))
        return f"`{shell:.60}` ended with {done.returncode}, expected {code} and {pattern!r}"

    @property
    def health_check(self) -> str:
        """The HEALTHCHECK's command as a shell line."""
        (check,) = [check for stage in self.stages for check in stage.all("HEALTHCHECK")]
        return " ".join(check.words)

    @property
    def start(self) -> str:
        """ENTRYPOINT and CMD as a shell line, each from the topmost stage that sets it."""
        instructions = [
            next(s.all(keyword)[-1] for s in self.stages if s.all(keyword))
            for keyword in ("ENTRYPOINT", "CMD")
        ]
        return " ".join(word for instruction in instructions for word in instruction.words)


def becomes_healthy(image: Image, server: str) -> str:
    """Shell line: the health check fails without the server and succeeds with it within `HEALTH_SECONDS`."""
    check = image.health_check
    return (
        f"{check} && exit 9; ({server}) > /tmp/server.log 2>&1 & "
        f"for i in $(seq {HEALTH_SECONDS}); do "
        f"{check} 2> /dev/null && {{ echo healthy after $i s; exit 0; }}; sleep 1; done; "
        "tail -20 /tmp/server.log; exit 1"
    )


def _check_runtime(image: Image) -> Iterator[str | None]:
    experiments = Mount(target="/home/raybench/experiments", source=EXPERIMENTS)
    yield image.check("id -u; raybench --help", pattern="recommend")
    yield image.check(image.start.replace("tini", "tini -s"), pattern="recommend")
    yield image.check("raybench list backbones", pattern="mini_resnet.supervised")
    versions = (
        "import torch, torchvision; print(torch.__version__, torchvision.__version__, torchvision.ops.nms)"
    )
    yield image.check(f"python -c '{versions}'", pattern="function nms")
    yield image.check("raybench doctor --storage /storage", pattern="storage")
    quickstart = (
        "raybench run experiments/quickstart.yaml --storage /storage --num-cpus 2 && raybench rank /storage"
    )
    yield image.check(quickstart, pattern="mini_", mounts=(experiments,))
    token = "export RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | sha256sum | cut -c 1-64); "
    node = "ray start --head --num-cpus=1 --node-ip-address=127.0.0.1 --block"
    yield image.check(token + becomes_healthy(image, node), pattern="healthy after")
    yield image.check("env -u RAY_AUTH_TOKEN ray start --head --block", code=1, pattern="(?i)token")


def _check_mlflow(image: Image) -> Iterator[str | None]:
    yield image.check("mlflow --version", pattern="3.17")
    yield image.check(
        'python -c "import psycopg2, boto3, flask_wtf; print(psycopg2.__version__)"', pattern="2.9"
    )
    yield image.check("python -c 'import torch'", code=1, pattern="No module named 'torch'")
    yield image.check("mlflow db upgrade sqlite:////tmp/m.db && ls /tmp/m.db", pattern="/tmp/m.db")
    users = "python -m mlflow.server.auth db upgrade --url sqlite:////tmp/a.db && ls /tmp/a.db"
    yield image.check(users, pattern="/tmp/a.db")
    yield image.check(becomes_healthy(image, image.start.replace("tini", "tini -s")), pattern="healthy after")


CHECKS: dict[str, Callable[[Image], Iterator[str | None]]] = {
    "runtime": _check_runtime,
    "mlflow": _check_mlflow,
}


def run_checks(target: str, image: Image) -> list[str]:
    """Run all checks on a target's image and its files; return the problems."""
    print(f"image {target}, user {image.user}:")
    results = [*CHECKS[target](image), *_check_files(image)]
    return [problem for problem in results if problem is not None]


def _check_files(image: Image) -> Iterator[str | None]:
    """Search the layers above the base for writable, unexpected or forbidden files."""
    uid = int(image.user.partition(":")[0])
    matches: dict[str, list[str]] = {"writable": [], "weights": [], "forbidden": [], "setuid": []}
    for layer in image.root.layers[:-1]:
        for path in layer.rglob("*"):
            name = str(path.relative_to(layer))
            if path.is_symlink():
                continue
            status = path.stat()
            is_writable = status.st_uid == uid or status.st_mode & 0o002
            if is_writable and f"/{name}".startswith(WRITABLE) is False and not status.st_mode & 0o1000:
                matches["writable"].append(name)
            if WEIGHTS.search(name) and status.st_size > WEIGHTS_BYTES and OWN_WEIGHTS not in name:
                matches["weights"].append(name)
            if FORBIDDEN.search(name):
                matches["forbidden"].append(name)
            if path.is_file() and status.st_mode & 0o6000:
                matches["setuid"].append(name)
    for what, names in matches.items():
        print(f"  {'BAD' if names else 'ok '}         files {what}: {len(names)} {', '.join(names[:5])}")
        yield f"{len(names)} files {what}: {', '.join(names[:3])}" if names else None
