"""What a finished image must be able to do, as its own user on a read-only root, and what must not be in it.

As in the pods of infra/: folders in memory for /tmp, /home/raybench, /storage and /cache, all else read-only.
There is no network but a loopback of its own.
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
"""How long a server may take to its first answer. 16 to 27 s were measured on two busy cores."""
WEIGHTS = re.compile(r"\.(safetensors|ckpt|pth?|onnx|gguf)$")
WEIGHTS_BYTES = 100_000
"""Smaller ones are Python's own .pth files and what a library tests its file formats with."""
OWN_WEIGHTS = "raybench/backbones/mini/weights/"
FORBIDDEN = re.compile(
    r"(^|/)(\.git|\.env|\.netrc|\.pypirc|pip\.conf|auth_token|id_(rsa|ecdsa|ed25519))$|^root/\.cache/.|^build/"
    r"|site-packages/tests?/__init__\.py$|site-packages/raybench/tests"
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A finished stage."""

    stages: list[Stage]
    """The stage, then those it starts from."""
    root: Root
    variables: dict[str, str]
    user: str
    folder: str

    def says(
        self, shell: str, *, pattern: str = "", code: int = 0, mounts: tuple[Mount, ...] = ()
    ) -> str | None:
        """None if the line of shell ends with `code` and its output holds the pattern; else what is wrong."""
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
        is_right = done.returncode == code and re.search(pattern, done.stdout)
        print(f"  {'ok ' if is_right else 'BAD'} {time.monotonic() - started:4.0f} s  {shell:.90}")
        if is_right:
            told = [line for line in lines if pattern and re.search(pattern, line)]
            print(f"              → {(told or lines)[-1]:.100}")
            return None
        print("\n".join(f"       {line}" for line in lines[-15:]))
        return f"`{shell:.60}` ended with {done.returncode}, expected {code} and {pattern!r}"

    @property
    def health_check(self) -> str:
        """The HEALTHCHECK's command as a line of shell."""
        (check,) = [check for stage in self.stages for check in stage.all("HEALTHCHECK")]
        return " ".join(check.words)

    @property
    def start(self) -> str:
        """ENTRYPOINT and CMD, the nearest of each."""
        found = [
            next(s.all(keyword)[-1] for s in self.stages if s.all(keyword))
            for keyword in ("ENTRYPOINT", "CMD")
        ]
        return " ".join(word for instruction in found for word in instruction.words)


def becomes_healthy(image: Image, server: str) -> str:
    """Shell: unhealthy without the server, healthy with it within `HEALTH_SECONDS`."""
    check = image.health_check
    return (
        f"{check} && exit 9; ({server}) > /tmp/server.log 2>&1 & "
        f"for i in $(seq {HEALTH_SECONDS}); do "
        f"{check} 2> /dev/null && {{ echo healthy after $i s; exit 0; }}; sleep 1; done; "
        "tail -20 /tmp/server.log; exit 1"
    )


def _of_runtime(image: Image) -> Iterator[str | None]:
    experiments = Mount(target="/home/raybench/experiments", source=EXPERIMENTS)
    yield image.says("id -u; raybench --help", pattern="recommend")
    yield image.says(image.start.replace("tini", "tini -s"), pattern="recommend")
    yield image.says("raybench list backbones", pattern="mini_resnet.supervised")
    together = (
        "import torch, torchvision; print(torch.__version__, torchvision.__version__, torchvision.ops.nms)"
    )
    yield image.says(f"python -c '{together}'", pattern="function nms")
    yield image.says("raybench doctor --storage /storage", pattern="storage")
    quickstart = (
        "raybench run experiments/quickstart.yaml --storage /storage --num-cpus 2 && raybench rank /storage"
    )
    yield image.says(quickstart, pattern="mini_", mounts=(experiments,))
    token = "export RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | sha256sum | cut -c 1-64); "
    node = "ray start --head --num-cpus=1 --node-ip-address=127.0.0.1 --block"
    yield image.says(token + becomes_healthy(image, node), pattern="healthy after")
    yield image.says("env -u RAY_AUTH_TOKEN ray start --head --block", code=1, pattern="(?i)token")


def _of_mlflow(image: Image) -> Iterator[str | None]:
    yield image.says("mlflow --version", pattern="3.17")
    yield image.says(
        'python -c "import psycopg2, boto3, flask_wtf; print(psycopg2.__version__)"', pattern="2.9"
    )
    yield image.says("python -c 'import torch'", code=1, pattern="No module named 'torch'")
    yield image.says("mlflow db upgrade sqlite:////tmp/m.db && ls /tmp/m.db", pattern="/tmp/m.db")
    users = "python -m mlflow.server.auth db upgrade --url sqlite:////tmp/a.db && ls /tmp/a.db"
    yield image.says(users, pattern="/tmp/a.db")
    yield image.says(becomes_healthy(image, image.start.replace("tini", "tini -s")), pattern="healthy after")


QUESTIONS: dict[str, Callable[[Image], Iterator[str | None]]] = {"runtime": _of_runtime, "mlflow": _of_mlflow}


def ask(target: str, image: Image) -> list[str]:
    """Put all questions to the image of a target and look through its files; returns what is wrong."""
    print(f"image {target}, user {image.user}:")
    answers = [*QUESTIONS[target](image), *_contents(image)]
    return [answer for answer in answers if answer is not None]


def _contents(image: Image) -> Iterator[str | None]:
    """What lies in the layers above the base."""
    uid = int(image.user.partition(":")[0])
    found: dict[str, list[str]] = {"writable": [], "weights": [], "forbidden": [], "setuid": []}
    for layer in image.root.layers[:-1]:
        for path in layer.rglob("*"):
            name = str(path.relative_to(layer))
            if path.is_symlink():
                continue
            status = path.stat()
            is_users = status.st_uid == uid or status.st_mode & 0o002
            if is_users and f"/{name}".startswith(WRITABLE) is False and not status.st_mode & 0o1000:
                found["writable"].append(name)
            if WEIGHTS.search(name) and status.st_size > WEIGHTS_BYTES and OWN_WEIGHTS not in name:
                found["weights"].append(name)
            if FORBIDDEN.search(name):
                found["forbidden"].append(name)
            if path.is_file() and status.st_mode & 0o6000:
                found["setuid"].append(name)
    for what, names in found.items():
        print(f"  {'BAD' if names else 'ok '}         files {what}: {len(names)} {', '.join(names[:5])}")
        yield f"{len(names)} files {what}: {', '.join(names[:3])}" if names else None
