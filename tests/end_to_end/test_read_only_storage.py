"""A storage on a file system that has become read-only: reading works, a run is refused before it starts."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def read_only(finished, tmp_path) -> Iterator[Path]:
    """A copy of the finished storage on a small file system that is mounted read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root and the capability to mount")
    try:
        shutil.copytree(finished, disk / "storage")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield disk / "storage"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_results_are_read_and_a_run_is_refused(read_only, finished, raybench, spec_file, tmp_path):
    ranked = raybench("rank", read_only)
    assert ranked.returncode == 0, ranked.stderr
    expected = raybench("rank", finished).stdout
    assert ranked.stdout.splitlines()[:6] == expected.splitlines()[:6]
    reported = raybench("report", read_only, "-o", tmp_path / "report.html")
    assert reported.returncode == 0, reported.stderr
    run = raybench("run", spec_file, "--storage", read_only, "--num-cpus", 1)
    assert run.returncode == 2
    assert "Read-only file system; free space or choose another storage folder." in run.stderr
    assert "Traceback" not in run.stderr
