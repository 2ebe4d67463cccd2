"""The main job as a user meets it: run, repeat, kill, extend, on a real Ray and a real MLflow store."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from raybench.store.ledger import read_records
from raybench.store.measurements import read_measurements
from tests.end_to_end.conftest import SPEC
from tests.end_to_end.ray_nodes import environment

pytestmark = pytest.mark.slow

RUN = [sys.executable, "-m", "raybench.cli", "run"]
NUM_TRIALS = 4 * (3 + 2)  # 4 pairs: 3 search trials and 2 seeds each.


def mlflow_trials(storage: Path) -> Counter[str]:
    """Trial id → how many MLflow runs carry it; runs that MLflow shows as deleted do not count."""
    query = """
        select value from tags join runs using (run_uuid)
        where key = 'raybench.trial_id' and lifecycle_stage = 'active'
    """
    with sqlite3.connect(storage / "mlflow.db") as connection:
        rows = connection.execute(query).fetchall()
    return Counter(row[0] for row in rows)


def values(storage: Path) -> pl.DataFrame:
    return read_measurements(storage).drop("provenance")


def test_every_pair_is_measured_for_every_seed(finished):
    table = read_measurements(finished).filter(pl.col("metric") == "accuracy", pl.col("split") == "test")
    assert table.height == 4 * 2
    assert set(table["num_examples"]) == {359}


def test_pretrained_beats_its_random_twin(finished):
    test = read_measurements(finished).filter(pl.col("metric") == "accuracy", pl.col("split") == "test")
    mean = test.group_by("backbone", "task").agg(pl.col("value").mean())
    for task in mean["task"].unique():
        by_name = dict(mean.filter(pl.col("task") == task).select("backbone", "value").iter_rows())
        assert by_name["mini_resnet.supervised"] > by_name["mini_resnet.random"]


def test_every_trial_is_one_mlflow_run(finished):
    trials = mlflow_trials(finished)
    assert {
        record.trial_id for record in read_records(finished, "small") if record.stage != "features"
    } <= set(trials)
    assert set(trials.values()) == {1}


def test_a_second_run_has_nothing_to_do_and_says_so(finished, raybench, spec_file):
    before = values(finished)
    started = time.monotonic()
    outcome = raybench("run", spec_file, "--storage", finished)
    assert outcome.returncode == 0, outcome.stderr
    assert "Nothing was left to run" in outcome.stdout
    assert values(finished).equals(before)
    assert time.monotonic() - started < 60


def test_the_same_spec_elsewhere_gives_the_same_bits(finished, raybench, spec_file, tmp_path):
    outcome = raybench("run", spec_file, "--storage", tmp_path / "again", "--num-cpus", 1)
    assert outcome.returncode == 0, outcome.stderr
    assert values(tmp_path / "again").equals(values(finished))


def test_killed_in_the_middle_and_started_again_it_ends_with_the_same_table(
    finished, raybench, spec_file, tmp_path
):
    storage = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "raybench.cli",
        "run",
        spec_file,
        "--storage",
        storage,
        "--num-cpus",
        "2",
    ]
    driver = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    trials = storage / "experiments" / "small" / "trials"
    deadline = time.monotonic() + 300
    while len(list(trials.glob("*.json"))) < NUM_TRIALS // 2 and time.monotonic() < deadline:
        assert driver.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert len(list(trials.glob("*.json"))) < NUM_TRIALS + 2

    outcome = raybench("run", spec_file, "--storage", storage, "--num-cpus", 2)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    assert values(storage).equals(values(finished))
    assert set(mlflow_trials(storage).values()) == {1}


def test_another_seed_extends_an_experiment_and_changes_nothing_in_it(finished, raybench, tmp_path):
    storage = shutil.copytree(finished, tmp_path / "extended")
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))
    outcome = raybench("run", spec, "--storage", storage, "--num-cpus", 2)
    assert outcome.returncode == 0, outcome.stderr
    assert values(storage).filter(pl.col("seed") < 2).equals(values(finished))
    assert values(storage).height == values(finished).height * 3 // 2


def test_a_changed_sampler_is_refused(finished, raybench, tmp_path):
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC.replace("sampler: qmc", "sampler: random"))
    outcome = raybench("run", spec, "--storage", finished)
    assert outcome.returncode == 2
    assert "search.sampler: qmc → random" in outcome.stderr


def test_a_recipe_repeats_the_winner_to_the_last_bit(finished, raybench, tmp_path):
    recipe = sorted((finished / "experiments" / "small" / "recipes").glob("*.yaml"))[0]
    outcome = raybench("run", recipe, "--storage", tmp_path / "recipe", "--num-cpus", 1)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    again = values(tmp_path / "recipe").drop("experiment", "trial_id")
    known = values(finished).drop("experiment", "trial_id")
    assert again.height > 0
    assert again.join(known, on=again.columns, how="anti").is_empty()


def test_an_impossible_request_is_refused_before_anything_waits(raybench, tmp_path):
    spec = tmp_path / "greedy.yaml"
    spec.write_text(SPEC + "resources: {cpus_per_trial: 1, gpus_per_trial: 64}\n")
    outcome = raybench("run", spec, "--storage", tmp_path / "storage")
    assert outcome.returncode == 2
    assert "asks for 1 CPUs and 64 GPUs, but no node has that many" in outcome.stderr


def test_an_unreachable_tracking_server_is_told_at_once(raybench, spec_file, tmp_path):
    outcome = raybench(
        "run", spec_file, "--storage", tmp_path / "storage", "--tracking-uri", "http://127.0.0.1:9"
    )
    assert outcome.returncode == 2
    assert "http://127.0.0.1:9 cannot be used" in outcome.stderr


def test_an_unwritable_storage_is_told_at_once(raybench, spec_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = raybench("run", spec_file, "--storage", tmp_path / "file" / "storage")
    assert outcome.returncode == 2
    assert "cannot write" in outcome.stderr


def test_an_interrupted_run_says_how_to_go_on(raybench, spec_file, tmp_path):
    storage = tmp_path / "interrupted"
    command = [
        sys.executable,
        "-m",
        "raybench.cli",
        "run",
        spec_file,
        "--storage",
        storage,
        "--num-cpus",
        "1",
    ]
    driver = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )
    trials = storage / "experiments" / "small" / "trials"
    deadline = time.monotonic() + 300
    while len(list(trials.glob("*search*.json"))) < 2 and time.monotonic() < deadline:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=200)
    assert driver.returncode == 130, output
    assert "goes on" in output
