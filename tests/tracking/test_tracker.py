import dataclasses
import os
import threading

import pytest

from raybench.core.errors import TrackingError
from raybench.core.records import CurvePoint, Pair, Task, metric_values
from raybench.store import layout, ledger
from raybench.tracking import Tracker, connection, rebuild
from tests.processes import DEADLINE_SECONDS, wait_until

EXPERIMENT = "demo"
BACKBONES = ("mini_vit.supervised", "mini_vit.random")
READ_BY_SEARCH = [("digits", "f1-train", "training"), ("digits", "f1-val", "validation")]
READ_BY_FINAL = sorted([*READ_BY_SEARCH, ("digits", "f1-test", "testing")])


def track(storage, records, *, uri=None, timeout=DEADLINE_SECONDS):
    tracker = Tracker(uri, EXPERIMENT, storage)
    tracker.start()
    for record in records:
        ledger.write_record(storage, record)
        tracker.log(record)
    return tracker.close(timeout)


@pytest.fixture
def records(pair_records):
    return [record for backbone in BACKBONES for record in pair_records(backbone)]


def test_the_run_table_is_the_results_table(storage, client, records, read_runs):
    assert track(storage, records) == []
    runs = read_runs(client)
    parents = {key: run for key, run in runs.items() if run.tags["raybench.kind"] == "pair"}
    assert set(parents) == {
        Pair(backbone=name, task=Task("linear_probe", "digits")).slug for name in BACKBONES
    }
    for run in parents.values():
        assert run.status == "FINISHED"
        assert run.metrics["test/accuracy"] == [(0, pytest.approx(0.805))]
        assert run.files == ["grid.csv"]
        assert run.datasets == READ_BY_FINAL
        assert run.tags["best.solver"] == "sgd"
    children = [run for run in runs.values() if run.tags["raybench.kind"] == "trial"]
    assert len(children) == len(records)
    assert {run.tags["parent"] for run in children} == set(parents)
    assert all(run.files == ["grid.csv"] for run in children)
    read = {run.tags["raybench.stage"]: run.datasets for run in children}
    assert read == {"search": READ_BY_SEARCH, "final": READ_BY_FINAL}


def test_a_trial_that_failed_before_its_dataset_was_read_has_no_dataset(storage, client, record, read_runs):
    elsewhere = Pair(backbone="mini_vit.supervised", task=Task("linear_probe", "missing"))
    failed = record(pair=elsewhere, trial_id="lost", status="failed", reason="no such folder", values=())
    assert track(storage, [failed]) == []
    assert read_runs(client)["lost"].datasets == []


def test_the_uis_filters_find_runs_by_tag_and_metric(storage, client, records):
    track(storage, records)
    identity = client.get_experiment_by_name(EXPERIMENT).experiment_id
    runs = client.search_runs(
        [identity],
        "tags.family = 'transformer' AND tags.`raybench.kind` = 'pair' AND metrics.`test/accuracy` > 0.8",
    )
    assert [run.data.tags["backbone"] for run in runs] == ["mini_vit.supervised"]
    assert client.get_experiment(identity).tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_rebuilt_experiment_equals_the_live_one(storage, client, records, read_runs, tmp_path):
    from mlflow.tracking import MlflowClient

    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    recipes = layout.experiment_dir(storage, EXPERIMENT) / "recipes"
    recipes.mkdir(parents=True)
    for record in records:
        ledger.write_record(storage, record)
        tracker.log(record)
        tracker.log_pair(record.pair)
    for slug in {record.pair.slug for record in records}:
        (recipes / f"{slug}.yaml").write_text("name: winner\n")
    tracker.log_summary({"ranking.md": "| a |"})
    assert tracker.close() == []
    live = read_runs(client)

    elsewhere = f"sqlite:///{tmp_path / 'rebuilt.db'}"
    assert rebuild(storage, EXPERIMENT, elsewhere, {"ranking.md": "| a |"}) == []
    assert {key: drop_history(run) for key, run in read_runs(MlflowClient(elsewhere)).items()} == {
        key: drop_history(run) for key, run in live.items()
    }
    assert rebuild(storage, EXPERIMENT) == []
    assert read_runs(client) == live


def drop_history(run):
    """Keep each metric's last value: a live parent may have been written before all its trials ended."""
    return run._replace(metrics={key: max(points) for key, points in run.metrics.items()})


def test_tracking_twice_writes_once(storage, client, records, read_runs):
    track(storage, records)
    before = read_runs(client)
    track(storage, records)
    assert read_runs(client) == before


def test_the_next_start_sends_what_a_killed_process_did_not(storage, client, records, read_runs):
    track(storage, records[:2])
    for record in records[2:]:  # In the ledger, but the process was killed before they were sent.
        ledger.write_record(storage, record)
    assert track(storage, []) == []
    kinds = [run.tags["raybench.kind"] for run in read_runs(client).values()]
    assert (kinds.count("trial"), kinds.count("pair")) == (len(records), 2)
    assert all(run.status == "FINISHED" for run in read_runs(client).values())


def test_a_half_written_run_is_completed(storage, client, record, read_runs, monkeypatch):
    def killed(*_):
        raise KeyError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(connection.RunWriter, "_log_batch", killed)
        assert track(storage, [record()]) != []
    assert [run.status for run in read_runs(client).values()] == ["RUNNING", "RUNNING"]
    assert track(storage, []) == []
    child = read_runs(client)[record().trial_id]
    assert (child.status, child.params["solver"]) == ("FINISHED", "solver-0")


def test_a_repeated_trial_shows_only_its_new_record(storage, client, record, read_runs):
    track(storage, [record(status="failed", reason="node lost", values=(), chosen={"lr": 9.0})])
    track(storage, [record()])
    run = read_runs(client)[record().trial_id]
    assert (run.status, run.params["chosen.lr"]) == ("FINISHED", "0.1")
    assert "raybench.reason" not in run.tags


def test_a_withdrawn_final_trial_is_shown_as_failed(storage, client, record, read_runs):
    old = record(stage="final", hparams={"solver": "sgd"})
    track(storage, [record(), old])
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    new = dataclasses.replace(old, trial_id=f"{old.trial_id}x", hparams={"solver": "lbfgs"}, started_at=1.8e9)
    ledger.write_record(storage, new)
    tracker.log(new)
    ledger.write_record(storage, dataclasses.replace(old, status="failed", reason="superseded"))
    tracker.close()
    runs = read_runs(client)
    assert runs[old.trial_id].status == "FAILED"
    slug = old.pair.slug
    assert runs[slug].tags["best.solver"] == "lbfgs"


def test_the_parent_of_an_extended_search_shows_the_new_numbers(storage, client, record, read_runs):
    slug = record().pair.slug
    track(storage, [record(), record(index=1), record(stage="final")])
    track(storage, [record(index=7, values=metric_values({"val/accuracy": 0.9}))])
    metrics = read_runs(client)[slug].metrics
    assert metrics["num_trials"][-1][1] == 3
    assert metrics["gain_over_default"][-1][1] == pytest.approx(0.4)


def test_two_storages_do_not_touch_each_others_runs(storage, client, record, tmp_path):
    other = tmp_path / "other"
    uri = f"sqlite:///{storage / 'mlflow.db'}"
    track(storage, [record()], uri=uri)
    track(other, [record(wall_seconds=9.0)], uri=uri)
    identity = client.get_experiment_by_name(EXPERIMENT).experiment_id
    runs = client.search_runs([identity], f"tags.`raybench.trial_id` = '{record().trial_id}'")
    assert sorted(run.data.metrics["wall_seconds"] for run in runs) == [2.0, 9.0]


def test_running_trials_and_feature_passes_have_no_run(storage, client, record, read_runs):
    track(storage, [record(status="running"), record(stage="features")])
    assert all(run.tags["raybench.kind"] == "pair" for run in read_runs(client).values())


def test_more_metrics_than_fit_one_request_are_all_logged(storage, client, record, read_runs):
    curve = tuple(CurvePoint(epoch=epoch, metrics={"a": 1.0, "b": 2.0}) for epoch in range(700))
    track(storage, [record(curve=curve)])
    assert len(read_runs(client)[record().trial_id].metrics["curve/val/b"]) == 700


def test_a_trial_deleted_in_mlflow_stays_deleted_until_rebuilt(storage, client, record, read_runs):
    track(storage, [record()])
    identity = client.get_experiment_by_name(EXPERIMENT).experiment_id
    for run in client.search_runs([identity]):
        client.delete_run(run.info.run_id)
    rebuild(storage, EXPERIMENT)
    assert record().trial_id in read_runs(client)


def test_a_trial_without_a_record_is_rejected_and_named(storage, record):
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    tracker.log(record())
    assert tracker.close() == [record().trial_id]
    assert "not in the ledger" in tracker.rejected[record().trial_id]


def test_logging_never_waits_for_mlflow(storage, records, monkeypatch):
    for record in records:
        ledger.write_record(storage, record)
    is_over = threading.Event()

    def hangs(*_):
        is_over.wait()
        raise ConnectionError("no answer")

    monkeypatch.setattr(connection, "connect", hangs)
    (storage / "mlflow.db").unlink()  # `start` does not wait for a new database.
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    for record in records:
        tracker.log(record)  # Would never return if it waited for MLflow.
    assert tracker.close(timeout=0.0) == sorted(record.trial_id for record in records)
    is_over.set()
    assert tracker.close() == sorted(record.trial_id for record in records)


def test_closing_without_starting_returns_all_trials(storage, record):
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.log(record())
    assert tracker.close() == [record().trial_id]


def test_after_an_outage_every_run_exists_once(storage, client, records, read_runs, monkeypatch):
    real, broken = connection.RunWriter._create, []

    def fails_after_creating(self, content, more_tags):
        run = real(self, content, more_tags)
        if len(broken) < 3:
            broken.append(content.key)
            self._known.pop(content.key)
            self._unsure.add(content.key)  # As if the response had been lost.
            raise ConnectionError("http://me:secret@host reset")
        return run

    monkeypatch.setattr(connection.RunWriter, "_create", fails_after_creating)
    monkeypatch.setattr("raybench.tracking.tracker.FIRST_PAUSE", 0.01)
    assert track(storage, records) == []
    assert len(broken) == 3
    assert len(read_runs(client)) == len(records) + 2  # `read_runs` fails on duplicates.


def test_an_unavailable_server_loses_no_record(storage, records, monkeypatch):
    def unavailable(*_, **__):
        raise ConnectionError("http://me:secret@host refused")

    monkeypatch.setattr(connection.RunWriter, "write_trial", unavailable)
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    for record in records:
        ledger.write_record(storage, record)
        tracker.log(record)
    wait_until(lambda: tracker.state.problem, "the first attempt")
    assert tracker.close(timeout=0.5) == sorted(record.trial_id for record in records)
    assert tracker.state.problem == "ConnectionError: http://host refused"
    assert tracker.state.num_waiting == len(records)
    # The thread must end before this test restores the real `write_trial`.
    tracker._thread.join()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://me:secret@127.0.0.1:9/", "Connection refused"),
        ("nonsense://x", "nonsense"),
    ],
)
def test_an_unreachable_address_is_reported_in_one_sentence(storage, uri, message):
    with pytest.raises(TrackingError, match=message) as caught:
        Tracker(uri, EXPERIMENT, storage).start()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(storage):
    (storage / "mlflow.db").write_text("this is no database, it is a text of some length " * 20)
    with pytest.raises(TrackingError, match="not a database"):
        Tracker(None, EXPERIMENT, storage).start()


def test_an_experiment_deleted_in_mlflow_is_refused_with_the_restore_command(storage, client, record):
    track(storage, [record()])
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        Tracker(None, EXPERIMENT, storage).start()


def test_the_request_settings_of_the_process_are_restored(storage, record, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    track(storage, [record()])
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
