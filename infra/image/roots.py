"""Folders that a command takes for the root of the machine: stacked layers, in namespaces of their own.

Every command gets its own mounts and its own process tree; both end with it, whatever it leaves running.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A folder or file of this machine (or another root) shown inside the root."""

    target: str
    source: Path | None = None
    """None: an empty folder in memory, that everybody may write into."""
    is_writable: bool = False


@dataclass(frozen=True, kw_only=True)
class Root:
    """A stack of layers."""

    layers: tuple[Path, ...]
    """The topmost first."""
    scratch: Path
    """Where it is mounted; nothing is kept there."""
    upper: Path | None = None
    """Takes what commands write. None: the root is read-only, as with `readOnlyRootFilesystem`."""

    def run(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str],
        user: str = "0:0",
        folder: str = "/",
        mounts: Sequence[Mount] = (),
        has_network: bool = True,
        timeout: float = 3600,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command inside; its output, both streams together, is text.

        Without network there is a loopback of its own, so that no port of this machine is in the way.
        """
        setting = [f"{name}={value}" for name, value in variables.items()]
        inside = ["chroot", f"--userspec={user}", str(self._merged), "/usr/bin/env", "-i", *setting]
        # chroot has no option for the folder to start in, other than /.
        start = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder, *command]
        lines = [*self._stack(), *_system(self._merged)]
        for mount in mounts:
            lines += _shown(mount, self._merged)
        if not has_network:
            lines.append("ip link set lo up")
        lines.append(shlex.join([*inside, *start]) + " && code=0 || code=$?")
        for mount in reversed(mounts):  # One may lie within another.
            lines += _forgotten(mount, self._merged)
        return self._carry_out([*lines, "exit $code"], has_network, timeout)

    def copy(self, sources: Sequence[Path], target: str, *, other: "Root | None" = None) -> None:
        """Docker's COPY: of a folder its content; a file under its name if `target` ends with a slash."""
        into = self._merged / target.lstrip("/")
        lines = self._stack()
        if other is not None:
            lines += other._stack()
            sources = [other._merged / str(source).lstrip("/") for source in sources]
        lines.append(f"mkdir -p {shlex.quote(str(into if target.endswith('/') else into.parent))}")
        for source in sources:
            origin, place = shlex.quote(str(source)), shlex.quote(str(into))
            copy = "cp -a --no-preserve=ownership"
            lines.append(
                f"if [ -d {origin} ]; then mkdir -p {place}; {copy} {origin}/. {place}; "
                f"else {copy} {origin} {place}; fi"
            )
        done = self._carry_out(lines, True, 3600)
        if done.returncode:
            raise OSError(done.stdout)

    @property
    def _merged(self) -> Path:
        return self.scratch / "root"

    def _stack(self) -> list[str]:
        self._merged.mkdir(parents=True, exist_ok=True)
        stack = ":".join(str(layer) for layer in self.layers)
        if self.upper is None:
            # An overlay of one folder alone is refused: an empty one makes two.
            (self.scratch / "empty").mkdir(exist_ok=True)
            options = f"lowerdir={self.scratch / 'empty'}:{stack}"
        else:
            (work := self.scratch / "work").mkdir(exist_ok=True)
            self.upper.mkdir(parents=True, exist_ok=True)
            options = f"lowerdir={stack},upperdir={self.upper},workdir={work}"
        return [f"mount -t overlay overlay -o {shlex.quote(options)} {shlex.quote(str(self._merged))}"]

    def _carry_out(
        self, lines: list[str], has_network: bool, timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        namespaces = ["--mount", "--pid", "--fork", "--kill-child", *([] if has_network else ["--net"])]
        return subprocess.run(
            ["unshare", *namespaces, "/bin/sh", "-e", "-c", "\n".join(lines)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )


def _system(root: Path) -> list[str]:
    """What the kernel gives every container. Of the devices those that need no hardware."""
    lines = [f"mount -t proc proc {root}/proc", f"mount -t tmpfs -o mode=755 tmpfs {root}/dev"]
    for device in ("null", "zero", "full", "random", "urandom", "tty"):
        lines += [f"touch {root}/dev/{device}", f"mount --bind /dev/{device} {root}/dev/{device}"]
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    lines += [f"ln -s {target} {root}/dev/{name}" for name, target in links.items()]
    return [*lines, f"mkdir {root}/dev/shm", f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm"]


def _shown(mount: Mount, root: Path) -> list[str]:
    place = shlex.quote(str(root / mount.target.lstrip("/")))
    if mount.source is None:
        return [f"mkdir -p {place}", f"mount -t tmpfs -o mode=1777 tmpfs {place}"]
    source = shlex.quote(str(mount.source))
    make = f"mkdir -p {place}" if mount.source.is_dir() else f"mkdir -p $(dirname {place}); touch {place}"
    make = f"[ -e {place} ] || {{ {make}; }}"
    bind = [make, f"mount --bind {source} {place}"]
    return bind if mount.is_writable else [*bind, f"mount -o remount,bind,ro {place}"]


def _forgotten(mount: Mount, root: Path) -> list[str]:
    """The mount ends, and an empty place that was made for it goes: it is no part of the layer."""
    place = shlex.quote(str(root / mount.target.lstrip("/")))
    empty = f"[ -d {place} ] && rmdir {place} || {{ [ -s {place} ] || rm -f {place}; }}"
    return [f"umount --lazy {place}", f"{{ {empty}; }} 2> /dev/null || true"]


def size_mb(folder: Path) -> float:
    """What a folder occupies, in MB of 10⁶ bytes, links counted once."""
    done = subprocess.run(
        ["du", "-s", "--block-size=1", str(folder)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[0]) / 1e6


def require_root() -> None:
    """Mounts and chroot are the administrator's.

    Raises:
        SystemExit: for anybody else.
    """
    if os.geteuid() != 0:
        raise SystemExit("the rehearsal mounts layers and changes the root: run it as root (sudo).")
