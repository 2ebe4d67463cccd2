"""Execute the Dockerfile's instructions in a clean root file system, then test the images.

    apt-get install debootstrap iproute2
    sudo python infra/image/rehearse.py                       images and reports, and the checks of smoke.py
    sudo python infra/image/rehearse.py --target mlflow       one of them

For machines without a container engine. The Dockerfile itself is read: RUN, COPY, ENV, ARG, WORKDIR, SHELL
and USER are executed, including bind and cache mounts. Differences to `docker build`:

- The base is Debian bookworm from debootstrap, with Debian's python3.11 and pip and a link `python`, instead
  of the image python:3.11.x-slim-bookworm: another digest, another Python and another pip.
- pip and apt use this machine's settings (configuration, certificates, PIP_* variables; `--expose` adds
  folders that these refer to). They are mounted during a RUN only and leave nothing behind.
- A RUN has all of root's capabilities and this machine's network; layers are folders, not archives.
- CUDA is installed and imported, but no GPU is used.

On 2026-11-25, on two busy cores (load 6 to 20): base 302 MB; stage dependencies 7,379 MB in
27 min, mlflow-dependencies 940 MB in 146 s, base 86 MB, wheel 63 MB in 48 s, audit 1,030 MB. A Ray node was
healthy after 53 s, MLflow's server after 21 s (93 s at load 16). The vulnerability service did not answer.
With `--only-smoke` the quickstart took 252 s as user 1000 on a read-only root, with the same ranking as
`make quickstart`.

Layers and pip's cache stay in the work folder; `--only-smoke` tests the result of an earlier rehearsal.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.image import dockerfile, smoke
from infra.image.roots import Mount, Root, require_root, size_mb

ROOT = Path(__file__).parents[2]
SUITE, PACKAGES = "bookworm", "python3.11,python3.11-venv,python3-pip,ca-certificates,netbase,tzdata"
TARGETS = ("reports", "mlflow", "runtime")
BASE_VARIABLES = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
FORWARDED_VARIABLES = ("PIP_", "SSL_CERT", "REQUESTS_CA", "CURL_CA")
"""Prefixes of variables that a RUN needs to reach package indexes."""
MOUNTED_SETTINGS = (
    "/etc/pip.conf",
    "/etc/xdg/pip",
    "/root/.config/pip",
    "/etc/ssl/certs",
    "/etc/resolv.conf",
)


@dataclass
class Built:
    """An executed stage, and the state that later stages inherit."""

    layers: tuple[Path, ...]
    variables: dict[str, str] = field(default_factory=lambda: dict(BASE_VARIABLES))
    """Set by ENV."""
    arguments: dict[str, str] = field(default_factory=dict)
    """Set by ARG."""
    folder: str = "/"
    user: str = "0:0"
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])

    def child(self, layer: Path) -> "Built":
        return Built(
            layers=(layer, *self.layers),
            variables=dict(self.variables),
            arguments=dict(self.arguments),
            folder=self.folder,
            user=self.user,
            shell=self.shell,
        )


class Rehearsal:
    """Builds stages on demand, each once."""

    def __init__(
        self, work: Path, arguments: dict[str, str], exposed: Sequence[Path], *, is_built: bool
    ) -> None:
        self.work = work
        self._build_arguments = arguments
        self._is_built = is_built
        _, stages = dockerfile.read((ROOT / "Dockerfile").read_text())
        self.stages = {stage.name: stage for stage in stages}
        self._ignored = dockerfile.ignored_lines(ROOT)
        self._done: dict[str, Built] = {}
        settings = [Path(path) for path in MOUNTED_SETTINGS if Path(path).exists()] + list(exposed)
        self._settings = [Mount(target=str(path), source=path) for path in settings]

    def build(self, name: str) -> Built:
        """Execute a stage, after the stages that it needs."""
        if name in self._done:
            return self._done[name]
        stage = self.stages[name]
        for needed in _needed_by(stage):
            self.build(needed)
        started = time.monotonic()
        layer = self.work / "layers" / name
        if not self._is_built:
            shutil.rmtree(layer, ignore_errors=True)
        layer.mkdir(parents=True, exist_ok=True)
        built = self._source(stage.source).child(layer)
        for instruction in stage.instructions:
            self._execute(instruction, built)
        self._done[name] = built
        if not self._is_built:
            print(f"stage {name}: {size_mb(layer):,.0f} MB in {time.monotonic() - started:.0f} s", flush=True)
        return built

    def lineage(self, name: str) -> list[dockerfile.Stage]:
        """The stage and the stages below it, topmost first."""
        stage = self.stages[name]
        return [stage, *(self.lineage(stage.source) if stage.source in self.stages else [])]

    def root(self, name: str) -> Root:
        """The finished stage, read-only."""
        return Root(layers=self.build(name).layers, scratch=self.work / "mounts" / f"{name}-finished")

    def _source(self, source: str) -> Built:
        if source in self.stages:
            return self.build(source)
        if source == "scratch":
            (empty := self.work / "scratch").mkdir(exist_ok=True)
            return Built(layers=(empty,), variables={})
        return Built(layers=(self._base(),))

    def _base(self) -> Path:
        """Create the substitute for the image python:3.11.x-slim-bookworm."""
        base = self.work / "base"
        if not (base / "usr/local/bin/python").is_symlink():
            started = time.monotonic()
            shutil.rmtree(base, ignore_errors=True)
            command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(base)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (base / "usr/local/bin/python").symlink_to("/usr/bin/python3.11")
            print(f"base: {size_mb(base):,.0f} MB in {time.monotonic() - started:.0f} s", flush=True)
        return base

    def _execute(self, instruction: dockerfile.Instruction, built: Built) -> None:
        known = {**built.arguments, **built.variables}
        match instruction.keyword:
            case "ARG":
                name, _, default = instruction.arguments.partition("=")
                built.arguments[name] = self._build_arguments.get(name, default.strip('"'))
            case "ENV":
                built.variables.update(instruction.settings(known))
            case "WORKDIR":
                built.folder = instruction.arguments
                if not self._is_built:
                    self._writable(built).run(["mkdir", "-p", built.folder], variables=BASE_VARIABLES)
            case "USER":
                built.user = instruction.arguments
            case "SHELL":
                built.shell = instruction.words
            case "COPY" if not self._is_built:
                self._copy(instruction, built)
            case "RUN" if not self._is_built:
                self._run(instruction, built)

    def _writable(self, built: Built) -> Root:
        layer, *below = built.layers
        return Root(layers=tuple(below), upper=layer, scratch=self.work / "mounts" / layer.name)

    def _copy(self, instruction: dockerfile.Instruction, built: Built) -> None:
        *sources, target = instruction.words
        target = target if target.startswith("/") else f"{built.folder}/{target.removeprefix('./')}"
        if (stage := instruction.flag("from")) is not None:
            self._writable(built).copy([Path(source) for source in sources], target, other=self.root(stage))
            return
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            context = self._context(Path(folder), sources)
            self._writable(built).copy([context / source for source in sources], target)

    def _context(self, folder: Path, sources: list[str]) -> Path:
        """Copy the sources that .dockerignore includes into `folder`."""
        files = [file for source in sources for file in _files(ROOT / source)]
        for file in files:
            path = file.relative_to(ROOT)
            if dockerfile.sent_to_the_build(str(path), self._ignored):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, folder / path)
        return folder

    def _run(self, instruction: dockerfile.Instruction, built: Built) -> None:
        mounts = [self._mount(value) for name, value in instruction.flags if name == "mount"]
        machine = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED_VARIABLES)}
        done = self._writable(built).run(
            [*built.shell, instruction.arguments],
            variables={"HOME": "/root", **machine, **built.arguments, **built.variables},
            user=built.user,
            folder=built.folder,
            mounts=[*self._settings, *mounts],
        )
        log = self.work / f"{built.layers[0].name}.log"
        with log.open("a") as file:
            file.write(f"RUN {instruction.arguments}\n{done.stdout}\n")
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-15:])
            where = f"stage {built.layers[0].name}: RUN {instruction.arguments}"
            raise SystemExit(f"{where}\nended with {done.returncode}:\n{tail}")

    def _mount(self, flag: str) -> Mount:
        options = dict(part.split("=", 1) for part in flag.split(","))
        target = options["target"]
        if options["type"] == "cache":
            (cache := self.work / "cache" / target.strip("/").replace("/", "-")).mkdir(
                parents=True, exist_ok=True
            )
            return Mount(target=target, source=cache, is_writable=True)
        layers = self.build(options["from"]).layers
        (source,) = [path for layer in layers if (path := layer / options["source"].lstrip("/")).exists()]
        return Mount(target=target, source=source)


def _needed_by(stage: dockerfile.Stage) -> list[str]:
    copied = [instruction.flag("from") for instruction in stage.all("COPY")]
    mounts = [value for run in stage.all("RUN") for name, value in run.flags if name == "mount"]
    mounted = [
        part.removeprefix("from=") for m in mounts for part in m.split(",") if part.startswith("from=")
    ]
    return [name for name in [*copied, *mounted] if name is not None]


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--target", action="append", choices=(*TARGETS, "audited"), help="default: all but `audited`"
    )
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/raybench-image"), help="%(default)s")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--expose", action="append", type=Path, default=[], help="a folder that pip's settings refer to"
    )
    parser.add_argument("--only-smoke", action="store_true", help="test the result of an earlier rehearsal")
    options = parser.parse_args()
    require_root()
    options.work.mkdir(parents=True, exist_ok=True)
    arguments = dict(given.split("=", 1) for given in options.build_arg)
    rehearsal = Rehearsal(options.work.resolve(), arguments, options.expose, is_built=options.only_smoke)
    problems = []
    for target in options.target or TARGETS:
        built = rehearsal.build(target)
        if target in smoke.CHECKS:
            image = smoke.Image(
                stages=rehearsal.lineage(target),
                root=rehearsal.root(target),
                variables=built.variables,
                user=built.user,
                folder=built.folder,
            )
            problems += smoke.run_checks(target, image)
    if problems:
        raise SystemExit(f"{len(problems)} checks failed: {'; '.join(problems)}")


if __name__ == "__main__":
    main()
