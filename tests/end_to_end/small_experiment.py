"""A small experiment on bundled data, and what a run of it leaves: trials, measurements, MLflow runs."""

import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import polars as pl

from raybench.store.files import StoragePath, glob_sorted
from raybench.store.layout import trials_dir
from raybench.store.measurements import read_measurements
from tests.processes import DEADLINE_SECONDS, wait_until

NAME = "small"
SPEC = """
name: small
backbones: [mini_resnet.supervised, mini_resnet.random]
tasks: [knn@digits, linear_probe@digits]
search: {sampler: qmc, num_trials: 3, early_stopping: none}
budget: quick
max_epochs: {linear_probe: 3}
seeds: [0, 1]
"""
NUM_TRIALS = 4 * (3 + 2)
"""4 pairs with 3 search trials and 2 seeds each; feature passes are not counted."""


def measurements(storage: StoragePath) -> pl.DataFrame:
    """The measurement table without provenance, which names the machine."""
    return read_measurements(storage).drop("provenance")


def mlflow_trials(storage: Path) -> Counter[str]:
    """Trial id → number of its MLflow runs that are not deleted."""
    query = """
        select value from tags join runs using (run_uuid)
        where key = 'raybench.trial_id' and lifecycle_stage = 'active'
    """
    with sqlite3.connect(storage / "mlflow.db") as connection:
        rows = connection.execute(query).fetchall()
    return Counter(row[0] for row in rows)


def num_records(storage: StoragePath, experiment: str = NAME) -> int:
    """Number of search and final trials that have begun."""
    folder = trials_dir(storage, experiment)
    return sum(len(glob_sorted(folder, f"*-{stage}-*.json")) for stage in ("search", "final"))


def wait_for_trials(driver: "subprocess.Popen[str]", storage: StoragePath, count: int) -> None:
    """Wait until so many trials have begun; fail if the driver ends first."""

    def has_begun() -> bool:
        assert driver.poll() is None, driver.communicate()[0]
        return num_records(storage) >= count

    wait_until(has_begun, f"{count} trials")


def finish(driver: "subprocess.Popen[str]", code: int = 0) -> str:
    """Wait until the driver ends with this exit code; its output."""
    output, _ = driver.communicate(timeout=DEADLINE_SECONDS)
    assert driver.returncode == code, output
    return output


def assert_equal_results(storage: Path, undisturbed: Path) -> None:
    """Same measurement table, bit for bit, and exactly one MLflow run per trial."""
    assert measurements(storage).equals(measurements(undisturbed))
    assert set(mlflow_trials(storage).values()) == {1}
