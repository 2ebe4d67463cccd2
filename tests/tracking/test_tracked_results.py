"""Results read back from a real MLflow: the same measurement table and the same ranking as the storage."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from raybench.cli import main
from raybench.core.errors import EmptyInputError, TrackingError, UnknownNameError
from raybench.core.records import Measurement, Pair, Task, TrialRecord, metric_values
from raybench.report.gather.table_file import parse_tables
from raybench.store import ledger
from raybench.store.measurements import measurements_of, read_measurements, write_measurements
from raybench.tracking import rebuild
from raybench.tracking.tracked_results import read_tracked
from raybench.tracking.ui import start_server, stop_server
from tests.processes import free_port, wait_until

from .test_server import is_healthy

EXPERIMENT = "demo"
BACKBONES = {"mini_vit.supervised": 0.7, "mini_resnet.random": 0.4}
TASKS = ("knn@digits", "linear_probe@digits")
CONDITION = 'odd "one", fog(severity=3)/a//b'


def fill(storage: Path, *, shift: float = 0.0) -> Path:
    """Two backbones, two tasks, two seeds, and a condition that MLflow's metric names cannot spell."""
    rows = [
        {"name": name, "family": "cnn", "method": "none" if "random" in name else "mae", "pretrain_images": 7}
        for name in BACKBONES
    ]
    ledger.save_spec(storage, EXPERIMENT, {"name": EXPERIMENT, "backbones": rows, "tasks": list(TASKS)})
    for backbone, accuracy in BACKBONES.items():
        for task in TASKS:
            for seed in (0, 1):
                final(
                    storage,
                    Pair(backbone=backbone, task=Task.parse(task)),
                    seed,
                    accuracy / 3 + seed / 7 + shift,
                )
    return storage


def final(storage: Path, pair: Pair, seed: int, value: float) -> TrialRecord:
    name = f"{pair.slug}-final-000-{seed}"
    rows = [
        Measurement(
            experiment=EXPERIMENT,
            backbone=pair.backbone,
            task=pair.task,
            split=split,
            metric="accuracy",
            value=value / (1 + len(condition) / 100),
            num_examples=359,
            seed=seed,
            condition=condition,
        )
        for split, condition in (("val", "clean"), ("test", "clean"), ("test", CONDITION))
    ]
    write_measurements(storage, EXPERIMENT, name, rows[:2], {"num_params": 5_000_000, "odd": 'a,"b"\n'})
    write_measurements(
        storage, EXPERIMENT, name, rows[2:], {"evaluator": "corruption"}, evaluator="corruption"
    )
    record = TrialRecord(
        trial_id=name,
        experiment=EXPERIMENT,
        pair=pair,
        stage="final",
        index=0,
        hparams={},
        seed=seed,
        status="completed",
        values=metric_values({"test/accuracy": value}),
        started_at=1.7e9 + seed,
        wall_seconds=1.0,
    )
    ledger.write_record(storage, record)
    return record


@pytest.fixture(scope="module")
def filled(tmp_path_factory, empty_database):
    """(Storage, tracking URI) of an experiment that was sent to MLflow."""
    storage = fill(tmp_path_factory.mktemp("tracked"))
    shutil.copy(empty_database, storage / "mlflow.db")
    uri = f"sqlite:///{storage / 'mlflow.db'}"
    assert rebuild(storage, EXPERIMENT, uri) == []
    return storage, uri


def ranking(capsys, *arguments):
    assert main(["rank", *map(str, arguments), "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""  # MLflow's progress bars are off.
    content = json.loads(printed.out)
    return content, content.pop("sources")


def test_the_table_is_read_back_equal_to_the_last_digit(filled):
    storage, uri = filled
    (tracked,) = read_tracked(uri, EXPERIMENT)
    assert parse_tables(tracked.tables, "x").equals(read_measurements(storage))
    assert tracked.name == uri
    assert tracked.spec["tasks"] == sorted(TASKS)
    assert tracked.spec["backbones"][0] == {
        "name": "mini_resnet.random",
        "family": "cnn",
        "method": "none",
        "pretrain_images": 7,
    }


@pytest.mark.parametrize(
    "options", [[], ["--condition", CONDITION, "--intervals"], ["--without-random-init"]]
)
def test_the_ranking_equals_that_of_the_storage(filled, capsys, options):
    storage, uri = filled
    from_storage, _ = ranking(capsys, storage, *options)
    from_mlflow, sources = ranking(capsys, "--tracking-uri", uri, "--experiment", EXPERIMENT, *options)
    assert from_mlflow == from_storage
    assert sources == [uri]


def test_storage_and_mlflow_agree_and_the_report_reads_both(filled, capsys, tmp_path):
    storage, uri = filled
    content, sources = ranking(capsys, storage, "--tracking-uri", uri)
    assert (content["conflicts"], sources) == ([], [str(storage), uri])
    page = tmp_path / "report.html"
    assert main(["report", "--tracking-uri", uri, "--experiment", EXPERIMENT, "-o", str(page)]) == 0
    text = page.read_text()
    assert "mini_vit.supervised is first of 2 backbones over 2 tasks" in text
    assert f"raybench report --tracking-uri {uri} --experiment {EXPERIMENT} -o report.html" in text
    assert "raybench run SPEC.yaml" not in text


def test_the_rows_of_a_trial_are_read_from_its_files(filled):
    storage, _ = filled
    table = read_measurements(storage)
    trial = table["trial_id"][0]
    assert measurements_of(storage, EXPERIMENT, trial) == table.filter(trial_id=trial).to_dicts()
    assert measurements_of(storage, EXPERIMENT, "gone") == []


def test_storages_that_share_an_experiment_are_kept_apart_and_differences_are_refused(storage, capsys):
    uri = f"sqlite:///{storage / 'mlflow.db'}"
    for name, shift in (("one", 0.0), ("two", 0.01)):
        (storage / name).mkdir()
        assert rebuild(fill(storage / name, shift=shift), EXPERIMENT, uri) == []
    assert {tracked.name for tracked in read_tracked(uri)} == {
        f"{uri}#{(storage / name / 'storage_id').read_text().strip()}" for name in ("one", "two")
    }
    assert main(["rank", "--tracking-uri", uri]) == 2
    assert "say which source to prefer" in capsys.readouterr().err
    first = f"{uri}#{(storage / 'one' / 'storage_id').read_text().strip()}"
    content, _ = ranking(capsys, "--tracking-uri", uri, "--prefer", first)
    alone, _ = ranking(capsys, storage / "one")
    assert content["ranking"] == alone["ranking"]


def test_a_trial_of_an_earlier_winner_has_no_rows_and_is_skipped(storage):
    uri = f"sqlite:///{storage / 'mlflow.db'}"
    fill(storage)
    pair = Pair(backbone="mini_vit.supervised", task=TASKS[0])
    old = final(storage, pair, 9, 0.5)
    for file in (storage / "measurements" / EXPERIMENT).glob(f"{old.trial_id}*"):
        file.unlink()
    ledger.write_record(storage, replace(old, status="failed", reason="superseded by a better search trial"))
    rebuild(storage, EXPERIMENT, uri)
    (tracked,) = read_tracked(uri)
    assert parse_tables(tracked.tables, "x").equals(read_measurements(storage))


def test_a_run_without_its_table_is_named_with_the_command_that_sends_it(filled, tmp_path):
    from mlflow.tracking import MlflowClient

    _, uri = filled
    copy = tmp_path / "mlflow.db"
    shutil.copy(uri.removeprefix("sqlite:///"), copy)
    client = MlflowClient(f"sqlite:///{copy}")
    identity = client.get_experiment_by_name(EXPERIMENT).experiment_id
    run = client.search_runs([identity], "tags.`raybench.stage` = 'final'")[0]
    client.delete_tag(run.info.run_id, "raybench.measurements")
    with pytest.raises(TrackingError, match=r"tracked by a raybench that sent no table.*raybench track"):
        read_tracked(f"sqlite:///{copy}")


def test_unknown_experiments_and_unreachable_addresses_are_refused(filled, tmp_path):
    _, uri = filled
    with pytest.raises(UnknownNameError, match="did you mean 'demo'"):
        read_tracked(uri, "dem0")
    with pytest.raises(TrackingError, match="no MLflow database at"):
        read_tracked(f"sqlite:///{tmp_path / 'gone.db'}")
    assert not (tmp_path / "gone.db").exists()
    with pytest.raises(TrackingError, match=r"MLflow at http://127.0.0.1:\d+ cannot be used"):
        read_tracked(f"http://me:secret@127.0.0.1:{free_port()}", EXPERIMENT)


def test_a_database_without_a_raybench_experiment_is_refused(storage):
    with pytest.raises(EmptyInputError, match="tracked no experiment at"):
        read_tracked(f"sqlite:///{storage / 'mlflow.db'}")


@pytest.mark.slow
def test_a_server_gives_the_same_ranking_over_http(tmp_path, empty_database, capsys):
    storage, port = fill(tmp_path), free_port()
    shutil.copy(empty_database, storage / "mlflow.db")
    server = start_server(f"sqlite:///{storage / 'mlflow.db'}", storage / "served", port)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_healthy(port), "the MLflow server answers")
        assert rebuild(storage, EXPERIMENT, uri) == []
        from_mlflow, _ = ranking(capsys, "--tracking-uri", uri, "--experiment", EXPERIMENT)
    finally:
        stop_server(server)
    assert from_mlflow == ranking(capsys, storage)[0]
