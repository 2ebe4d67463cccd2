"""Fault drills: after each fault, the measurement table equals that of an undisturbed run."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.small_experiment import NUM_TRIALS, assert_equal_results, finish, wait_for_trials
from tests.processes import descendants, kill_tree, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.drill]


def workers_of(ancestor: subprocess.Popen) -> list[int]:
    """Ids of its descendants that hold a trial: Ray names a worker process after its actor."""
    names = {}
    for process in descendants(ancestor.pid):
        with contextlib.suppress(OSError):
            names[process] = Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    return [process for process, name in names.items() if "Trainable" in name]


def test_a_killed_worker_costs_only_a_repeated_trial(finished, start, tmp_path):
    driver = start(tmp_path)
    wait_for_trials(driver, tmp_path, 3)
    victims = workers_of(driver)
    assert victims, "no worker was found to kill"
    os.kill(victims[0], signal.SIGKILL)
    finish(driver)
    assert_equal_results(tmp_path, finished)


@pytest.fixture
def memory_group():
    """A control group (cgroup v1) limited to 1 MiB of memory; creating one needs root."""
    groups = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    parent = Path("/sys/fs/cgroup/memory", groups.get("memory", "").lstrip("/"))
    group = parent / f"raybench-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(2**20))
    except OSError as error:
        pytest.skip(f"cannot limit the memory of a process here: {error}")
    yield group

    def is_removed() -> bool:
        with contextlib.suppress(OSError):  # Busy until its last process has ended.
            group.rmdir()
        return not group.exists()

    wait_until(is_removed, f"{group} is removed")


def test_a_worker_killed_by_the_kernel_for_memory_costs_only_a_repeated_trial(
    finished, start, memory_group, tmp_path
):
    driver = start(tmp_path)
    wait_for_trials(driver, tmp_path, 3)
    victims = workers_of(driver)
    assert victims, "no worker was found to starve"
    (memory_group / "cgroup.procs").write_text(str(victims[0]))
    finish(driver)
    assert "oom_kill 1" in (memory_group / "memory.oom_control").read_text()
    assert_equal_results(tmp_path, finished)


def test_after_sigterm_the_next_run_resumes(finished, raybench, spec_file, start, tmp_path):
    driver = start(tmp_path)
    wait_for_trials(driver, tmp_path, NUM_TRIALS // 3)
    driver.send_signal(signal.SIGTERM)
    assert "resumes" in finish(driver, 143)
    assert raybench("run", spec_file, "--storage", tmp_path, "--num-cpus", 2).returncode == 0
    assert_equal_results(tmp_path, finished)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB; mounting one needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_the_next_run_resumes(finished, raybench, spec_file, start, small_disk):
    storage = small_disk / "storage"
    driver = start(storage)
    wait_for_trials(driver, storage, NUM_TRIALS // 3)
    filler = small_disk / "filler"
    block = b"\0" * 4096
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(block):
            pass
    output = finish(driver, 3)
    assert "No space left on device" in output
    assert "same command" in output
    filler.unlink()
    again = raybench("run", spec_file, "--storage", storage, "--num-cpus", 2)
    assert again.returncode == 0, again.stderr + again.stdout
    assert_equal_results(storage, finished)


def test_a_node_killed_during_a_trial_costs_only_a_repeated_trial(finished, start, two_nodes, tmp_path):
    driver = start(tmp_path, RAY_ADDRESS=two_nodes.address, **two_nodes.environment)

    def second_node_has_a_trial() -> bool:
        assert driver.poll() is None, driver.communicate()[0]
        return bool(workers_of(two_nodes.second))

    wait_until(second_node_has_a_trial, "a trial on the second node", pause=0.02)
    kill_tree(two_nodes.second)
    finish(driver)
    assert_equal_results(tmp_path, finished)


HANGING = """
name: small
backbones: [mini_resnet.random]
tasks: [knn@drawn]
datasets: {drawn: {folder: FOLDER}}
search: {sampler: qmc, num_trials: 1, early_stopping: none}
budget: smoke
seeds: [0]
"""


DEAD_MOUNT = """
import sys, time

if any("default_worker" in part for part in sys.orig_argv):
    from PIL import Image

    def open_or_hang(file, *arguments, original=Image.open, **options):
        if str(file).endswith("odd/3.png"):
            time.sleep(600)
        return original(file, *arguments, **options)

    Image.open = open_or_hang
"""
"""A `sitecustomize.py`: in Ray's workers, opening one of the images blocks."""


def test_a_data_loader_that_hangs_is_ended_and_the_next_run_resumes(raybench, start, tmp_path):
    """Reading an image blocks in the workers, as on a dead mount."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, name in ((s, n) for s in ("train", "val", "test") for n in ("even", "odd")):
        folder = tmp_path / "drawn" / split / name
        folder.mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    spec = tmp_path / "small.yaml"
    spec.write_text(HANGING.replace("FOLDER", str(tmp_path / "drawn")))
    undisturbed = raybench("run", spec, "--storage", tmp_path / "undisturbed", "--num-cpus", 1)
    assert undisturbed.returncode == 0, undisturbed.stderr

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DEAD_MOUNT)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    storage = tmp_path / "storage"
    driver = start(storage, spec, RAYBENCH_STEP_SECONDS="1.5", PYTHONPATH=path)
    output = finish(driver, 1)
    assert "one step took longer than 1.5 s and was ended" in output

    again = raybench("run", spec, "--storage", storage, "--num-cpus", 1)
    assert again.returncode == 0, again.stderr + again.stdout
    assert_equal_results(storage, tmp_path / "undisturbed")
