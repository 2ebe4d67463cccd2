"""Run commands in a root file system made of stacked layers, in their own namespaces.

Every command gets its own mounts and process tree, which end with it, whatever it leaves running.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A folder or file of this machine, or of another root, mounted inside the root."""

    target: str
    source: Path | None = None
    """None: an empty, world-writable folder in memory."""
    is_writable: bool = False


@dataclass(frozen=True, kw_only=True)
class Root:
    """A root file system: a stack of layers."""

    layers: tuple[Path, ...]
    """The topmost first."""
    scratch: Path
    """Temporary mount point."""
    upper: Path | None = None
    """Layer to which commands write. None: the root is read-only, as with `readOnlyRootFilesystem`."""

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
        """Run a command inside the root; both output streams are combined, as text.

        Without network it has its own loopback interface, so that it cannot clash with ports of this machine.
        """
        setting = [f"{name}={value}" for name, value in variables.items()]
        inside = ["chroot", f"--userspec={user}", str(self._merged), "/usr/bin/env", "-i", *setting]
        # chroot cannot start in another folder than /.
        start = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder, *command]
        lines = [*self._stack(), *_system_mounts(self._merged)]
        for mount in mounts:
            lines += _mount_lines(mount, self._merged)
        if not has_network:
            lines.append("ip link set lo up")
        lines.append(shlex.join([*inside, *start]) + " && code=0 || code=$?")
        for mount in reversed(mounts):  # They may be nested.
            lines += _unmount_lines(mount, self._merged)
        return self._run_lines([*lines, "exit $code"], has_network, timeout)

    def copy(self, sources: Sequence[Path], target: str, *, other: "Root | None" = None) -> None:
        """Docker's COPY: copies a folder's content; a file keeps its name if `target` ends with a slash."""
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
        done = self._run_lines(lines, True, 3600)
        if done.returncode:
            raise OSError(done.stdout)

    @property
    def _merged(self) -> Path:
        return self.scratch / "root"

    def _stack(self) -> list[str]:
        self._merged.mkdir(parents=True, exist_ok=True)
        stack = ":".join(str(layer) for layer in self.layers)
        if self.upper is None:
            # The kernel refuses an overlay of one folder, so add an empty one.
            (self.scratch / "empty").mkdir(exist_ok=True)
            options = f"lowerdir={self.scratch / 'empty'}:{stack}"
        else:
            (work := self.scratch / "work").mkdir(exist_ok=True)
            self.upper.mkdir(parents=True, exist_ok=True)
            options = f"lowerdir={stack},upperdir={self.upper},workdir={work}"
        return [f"mount -t overlay overlay -o {shlex.quote(options)} {shlex.quote(str(self._merged))}"]

    def _run_lines(
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


def _system_mounts(root: Path) -> list[str]:
    """Shell lines that mount /proc and /dev, with the devices that need no hardware."""
    lines = [f"mount -t proc proc {root}/proc", f"mount -t tmpfs -o mode=755 tmpfs {root}/dev"]
    for device in ("null", "zero", "full", "random", "urandom", "tty"):
        lines += [f"touch {root}/dev/{device}", f"mount --bind /dev/{device} {root}/dev/{device}"]
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    lines += [f"ln -s {target} {root}/dev/{name}" for name, target in links.items()]
    return [*lines, f"mkdir {root}/dev/shm", f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm"]


def _mount_lines(mount: Mount, root: Path) -> list[str]:
    place = shlex.quote(str(root / mount.target.lstrip("/")))
    if mount.source is None:
        return [f"mkdir -p {place}", f"mount -t tmpfs -o mode=1777 tmpfs {place}"]
    source = shlex.quote(str(mount.source))
    make = f"mkdir -p {place}" if mount.source.is_dir() else f"mkdir -p $(dirname {place}); touch {place}"
    make = f"[ -e {place} ] || {{ {make}; }}"
    bind = [make, f"mount --bind {source} {place}"]
    return bind if mount.is_writable else [*bind, f"mount -o remount,bind,ro {place}"]


def _unmount_lines(mount: Mount, root: Path) -> list[str]:
    """Shell lines that unmount, and remove the mount point if it is empty and so no part of the layer."""
    place = shlex.quote(str(root / mount.target.lstrip("/")))
    empty = f"[ -d {place} ] && rmdir {place} || {{ [ -s {place} ] || rm -f {place}; }}"
    return [f"umount --lazy {place}", f"{{ {empty}; }} 2> /dev/null || true"]


def size_mb(folder: Path) -> float:
    """Disk usage of a folder in MB (10⁶ bytes), hard links counted once."""
    done = subprocess.run(
        ["du", "-s", "--block-size=1", str(folder)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[0]) / 1e6


def require_root() -> None:
    """Require root, for mounts and chroot.

    Raises:
        SystemExit: for other users.
    """
    if os.geteuid() != 0:
        raise SystemExit("the rehearsal mounts layers and changes the root: run it as root (sudo).")
