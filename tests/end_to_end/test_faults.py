"""Drills: what happens to clusters, and afterwards the table of an undisturbed run of the same spec."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.end_to_end.ray_nodes import descendants, kill_tree
from tests.end_to_end.test_run import NUM_TRIALS, mlflow_trials, values

pytestmark = [pytest.mark.slow, pytest.mark.drill]

RETRY_SECONDS = 400


def wait_for_trials(driver: subprocess.Popen[str], storage: Path, count: int) -> None:
    trials = storage / "experiments" / "small" / "trials"
    deadline = time.monotonic() + RETRY_SECONDS
    while len(list(trials.glob("*.json"))) < count:
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline, "no trial has ended"
        time.sleep(0.05)


def workers_of(ancestor: subprocess.Popen, doing: str = "Trainable") -> list[int]:
    """Ids of the processes below it that hold a trial, or are in a step of one."""
    names = {}
    for process in descendants(ancestor.pid):
        with contextlib.suppress(OSError):
            names[process] = Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    return [process for process, name in names.items() if doing in name]


def same_as(finished: Path, storage: Path) -> None:
    assert values(storage).equals(values(finished))
    assert set(mlflow_trials(storage).values()) == {1}


def test_a_worker_killed_costs_its_trial_one_more_try_and_nothing_else(finished, start, tmp_path):
    driver = start(tmp_path)
    wait_for_trials(driver, tmp_path, 3)
    victims = workers_of(driver)
    assert victims, "no worker was found to kill"
    os.kill(victims[0], signal.SIGKILL)
    output, _ = driver.communicate(timeout=RETRY_SECONDS)
    assert driver.returncode == 0, output
    same_as(finished, tmp_path)


@pytest.fixture
def memory_group():
    """A control group of the kernel, of 1 MiB of memory for what is put into it; making one takes root."""
    mine = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    parent = Path("/sys/fs/cgroup/memory", mine.get("memory", "").lstrip("/"))
    group = parent / f"raybench-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(2**20))
    except OSError as error:
        pytest.skip(f"cannot limit the memory of a process here: {error}")
    yield group
    give_up = time.monotonic() + 10
    while group.exists() and time.monotonic() < give_up:
        with contextlib.suppress(OSError):  # Busy until the last process of it is gone.
            group.rmdir()
        time.sleep(0.1)


def test_a_worker_that_the_kernel_kills_for_memory_costs_its_trial_one_more_try(
    finished, start, memory_group, tmp_path
):
    driver = start(tmp_path)
    wait_for_trials(driver, tmp_path, 3)
    victims = workers_of(driver)
    assert victims, "no worker was found to starve"
    (memory_group / "cgroup.procs").write_text(str(victims[0]))
    output, _ = driver.communicate(timeout=RETRY_SECONDS)
    assert "oom_kill 1" in (memory_group / "memory.oom_control").read_text()
    assert driver.returncode == 0, output
    same_as(finished, tmp_path)


def test_sigterm_leaves_within_the_grace_period_and_the_next_run_goes_on(
    finished, raybench, spec_file, start, tmp_path
):
    driver = start(tmp_path)
    wait_for_trials(driver, tmp_path, NUM_TRIALS // 3)
    started = time.monotonic()
    driver.send_signal(signal.SIGTERM)
    output, _ = driver.communicate(timeout=RETRY_SECONDS)
    assert driver.returncode == 143, output
    assert time.monotonic() - started < 30
    assert "goes on" in output
    assert raybench("run", spec_file, "--storage", tmp_path, "--num-cpus", 2).returncode == 0
    same_as(finished, tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB; mounting one takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_stops_the_run_says_so_and_the_next_run_goes_on(
    finished, raybench, spec_file, start, small_disk
):
    storage = small_disk / "storage"
    driver = start(storage)
    wait_for_trials(driver, storage, NUM_TRIALS // 3)
    filler = small_disk / "filler"
    block = b"\0" * 4096
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(block):
            pass
    output, _ = driver.communicate(timeout=RETRY_SECONDS)
    assert driver.returncode == 3, output
    assert "No space left on device" in output
    assert "the same command goes on" in output
    filler.unlink()
    again = raybench("run", spec_file, "--storage", storage, "--num-cpus", 2)
    assert again.returncode == 0, again.stderr + again.stdout
    same_as(finished, storage)


def test_a_node_killed_in_the_middle_of_a_trial_costs_nothing(finished, start, two_nodes, tmp_path):
    driver = start(tmp_path, RAY_ADDRESS=two_nodes.address, **two_nodes.environment)
    give_up = time.monotonic() + 90
    while not workers_of(two_nodes.second, "Trainable.train"):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < give_up, "no trial came to the second node"
        time.sleep(0.02)
    kill_tree(two_nodes.second)
    output, _ = driver.communicate(timeout=RETRY_SECONDS)
    assert driver.returncode == 0, output
    same_as(finished, tmp_path)


HANGING = """
name: small
backbones: [mini_resnet.random]
tasks: [knn@drawn]
datasets: {drawn: {folder: FOLDER}}
search: {sampler: qmc, num_trials: 1, early_stopping: none}
budget: smoke
seeds: [0]
"""


def test_a_data_loader_that_hangs_is_ended_and_the_next_run_goes_on(raybench, start, tmp_path):
    """A picture that is a pipe without a writer: reading it blocks, as on a dead mount."""
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

    picture = tmp_path / "drawn" / "train" / "odd" / "3.png"
    picture.rename(tmp_path / "kept.png")
    os.mkfifo(picture)
    storage = tmp_path / "storage"
    driver = start(storage, spec, RAYBENCH_STEP_SECONDS="1.5")
    output, _ = driver.communicate(timeout=RETRY_SECONDS)
    assert driver.returncode == 1, output
    assert "one step took longer than 1.5 s and was ended" in output

    picture.unlink()
    (tmp_path / "kept.png").rename(picture)
    again = raybench("run", spec, "--storage", storage, "--num-cpus", 1)
    assert again.returncode == 0, again.stderr + again.stdout
    same_as(tmp_path / "undisturbed", storage)
