"""`raybench run` as a user meets it: run, repeat, kill, extend, on a real Ray and a real MLflow store."""

import os
import shutil
import signal

import polars as pl
import pytest

from raybench.store.ledger import read_records
from raybench.store.measurements import read_measurements
from tests.end_to_end.small_experiment import (
    NUM_TRIALS,
    SPEC,
    assert_equal_results,
    finish,
    measurements,
    mlflow_trials,
    num_records,
    wait_for_trials,
)

pytestmark = pytest.mark.slow


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


def test_a_second_run_has_nothing_to_do_and_does_not_start_ray(finished, raybench, spec_file):
    before = measurements(finished)
    outcome = raybench("run", spec_file, "--storage", finished, RAY_ADDRESS="127.0.0.1:9")  # No Ray is there.
    assert outcome.returncode == 0, outcome.stderr
    assert "Nothing was left to run" in outcome.stdout
    assert measurements(finished).equals(before)


def test_the_same_spec_elsewhere_gives_the_same_bits(finished, raybench, spec_file, tmp_path):
    outcome = raybench("run", spec_file, "--storage", tmp_path / "again", "--num-cpus", 1)
    assert outcome.returncode == 0, outcome.stderr
    assert measurements(tmp_path / "again").equals(measurements(finished))


def test_features_in_shards_give_the_same_bits(finished, raybench, tmp_path):
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC + "resources: {features: {images_per_shard: 256}}\n")
    outcome = raybench("run", spec, "--storage", tmp_path / "shards", "--num-cpus", 2)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    assert measurements(tmp_path / "shards").equals(measurements(finished))
    shards = [r for r in read_records(tmp_path / "shards", "small") if r.stage == "features"]
    assert {record.hparams["num_shards"] for record in shards} == {7}  # 1,150 and 288 images.
    assert len(shards) == 2 * 7


def test_a_killed_run_ends_with_the_same_table_when_it_is_started_again(
    finished, raybench, spec_file, start, tmp_path
):
    driver = start(tmp_path)
    wait_for_trials(driver, tmp_path, NUM_TRIALS // 2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert num_records(tmp_path) < NUM_TRIALS

    outcome = raybench("run", spec_file, "--storage", tmp_path, "--num-cpus", 2)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    assert_equal_results(tmp_path, finished)


def test_another_seed_extends_an_experiment_and_changes_nothing_else(finished, raybench, tmp_path):
    storage = shutil.copytree(finished, tmp_path / "extended")
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))
    outcome = raybench("run", spec, "--storage", storage, "--num-cpus", 2)
    assert outcome.returncode == 0, outcome.stderr
    assert measurements(storage).filter(pl.col("seed") < 2).equals(measurements(finished))
    assert measurements(storage).height == measurements(finished).height * 3 // 2


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
    again = measurements(tmp_path / "recipe").drop("experiment", "trial_id")
    known = measurements(finished).drop("experiment", "trial_id")
    assert again.height > 0
    assert again.join(known, on=again.columns, how="anti").is_empty()


def test_an_impossible_request_is_refused_at_the_start(raybench, tmp_path):
    spec = tmp_path / "greedy.yaml"
    spec.write_text(SPEC + "resources: {cpus_per_trial: 1, gpus_per_trial: 64}\n")
    outcome = raybench("run", spec, "--storage", tmp_path / "storage")
    assert outcome.returncode == 2
    assert "asks for 1 CPUs and 64 GPUs, but no node has that many" in outcome.stderr


def test_an_unreachable_tracking_server_is_reported_at_the_start(raybench, spec_file, tmp_path):
    outcome = raybench(
        "run", spec_file, "--storage", tmp_path / "storage", "--tracking-uri", "http://127.0.0.1:9"
    )
    assert outcome.returncode == 2
    assert "http://127.0.0.1:9 cannot be used" in outcome.stderr


def test_an_unwritable_storage_is_reported_at_the_start(raybench, spec_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = raybench("run", spec_file, "--storage", tmp_path / "file" / "storage")
    assert outcome.returncode == 2
    assert "cannot write" in outcome.stderr


def test_an_interrupted_run_prints_how_to_resume(start, tmp_path):
    driver = start(tmp_path)
    wait_for_trials(driver, tmp_path, 2)
    driver.send_signal(signal.SIGINT)
    assert "resumes" in finish(driver, 130)
