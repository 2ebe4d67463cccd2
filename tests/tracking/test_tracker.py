import dataclasses
import os
import threading
import time

import pytest

from raybench.core.errors import TrackingError
from raybench.core.records import Pair
from raybench.store import layout, ledger
from raybench.tracking import Tracker, rebuild
from raybench.tracking import connection as mlflow_door

EXPERIMENT = "demo"
BACKBONES = ("mini_vit.supervised", "mini_vit.random")


def track(storage, records, *, uri=None, timeout=60.0):
    tracker = Tracker(uri, EXPERIMENT, storage)
    tracker.start()
    for record in records:
        ledger.write_record(storage, record)
        tracker.log(record)
    return tracker.close(timeout)


@pytest.fixture
def records(pair_records):
    return [record for backbone in BACKBONES for record in pair_records(backbone)]


def test_the_run_table_is_the_results_table(storage, client, records, look):
    assert track(storage, records) == []
    seen = look(client)
    parents = {key: run for key, run in seen.items() if run[3]["raybench.kind"] == "pair"}
    assert set(parents) == {Pair(backbone=name, task="linear_probe@digits").slug for name in BACKBONES}
    for _, status, _, tags, _, metrics, files, datasets in parents.values():
        assert status == "FINISHED"
        assert metrics["test/accuracy"] == [(0, pytest.approx(0.805))]
        assert (files, datasets) == (["grid.csv"], [("digits", "f1")])
        assert tags["best.solver"] == "sgd"
    children = [run for run in seen.values() if run[3]["raybench.kind"] == "trial"]
    assert len(children) == len(records)
    assert {run[3]["parent"] for run in children} == set(parents)
    assert all(run[6] == ["grid.csv"] for run in children)


def test_filters_of_the_ui_find_what_they_should(storage, client, records):
    track(storage, records)
    identity = client.get_experiment_by_name(EXPERIMENT).experiment_id
    runs = client.search_runs(
        [identity],
        "tags.family = 'transformer' AND tags.`raybench.kind` = 'pair' AND metrics.`test/accuracy` > 0.8",
    )
    assert [run.data.tags["backbone"] for run in runs] == ["mini_vit.supervised"]
    assert client.get_experiment(identity).tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_rebuilt_experiment_equals_the_live_one(storage, client, records, look, tmp_path):
    from mlflow.tracking import MlflowClient

    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    recipes = layout.experiment_dir(storage, EXPERIMENT) / "recipes"
    recipes.mkdir(parents=True)
    for record in records:
        ledger.write_record(storage, record)
        tracker.log(record)
        tracker.log_pair(Pair(backbone=record.backbone, task=record.task))
    for slug in {Pair(backbone=record.backbone, task=record.task).slug for record in records}:
        (recipes / f"{slug}.yaml").write_text("name: winner\n")
    tracker.log_summary({"ranking.md": "| a |"})
    assert tracker.close() == []
    live = look(client)

    elsewhere = f"sqlite:///{tmp_path / 'rebuilt.db'}"
    assert rebuild(storage, EXPERIMENT, elsewhere, {"ranking.md": "| a |"}) == []
    assert {key: drop_history(run) for key, run in look(MlflowClient(elsewhere)).items()} == {
        key: drop_history(run) for key, run in live.items()
    }
    assert rebuild(storage, EXPERIMENT) == []
    assert look(client) == live


def drop_history(run):
    """A live parent may have been written before all its trials had ended: its last values count."""
    *others, metrics, files, datasets = run
    return others, {key: max(points) for key, points in metrics.items()}, files, datasets


def test_tracking_twice_writes_once(storage, client, records, look):
    track(storage, records)
    before = look(client)
    track(storage, records)
    assert look(client) == before


def test_what_was_not_sent_before_a_kill_is_sent_by_the_next_start(storage, client, records, look):
    track(storage, records[:2])
    for record in records[2:]:  # Ended, written, and the process was killed before they were sent.
        ledger.write_record(storage, record)
    assert track(storage, []) == []
    kinds = [run[3]["raybench.kind"] for run in look(client).values()]
    assert (kinds.count("trial"), kinds.count("pair")) == (len(records), 2)
    assert all(run[1] == "FINISHED" for run in look(client).values())


def test_a_run_that_was_left_half_written_is_completed(storage, client, record, look, monkeypatch):
    def killed(*_):
        raise KeyError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_door.RunWriter, "_log_batch", killed)
        assert track(storage, [record()]) != []
    assert [run[1] for run in look(client).values()] == ["RUNNING", "RUNNING"]
    assert track(storage, []) == []
    child = look(client)[record().trial_id]
    assert (child[1], child[4]["solver"]) == ("FINISHED", "solver-0")


def test_a_trial_that_ran_again_shows_its_new_record_only(storage, client, record, look):
    track(storage, [record(status="failed", reason="node lost", metrics={}, chosen={"lr": 9.0})])
    track(storage, [record()])
    run = look(client)[record().trial_id]
    assert (run[1], run[4]["chosen.lr"]) == ("FINISHED", "0.1")
    assert "raybench.reason" not in run[3]


def test_a_final_trial_taken_back_is_shown_as_such_when_its_pair_is_settled(storage, client, record, look):
    old = record(stage="final", hparams={"solver": "sgd"})
    track(storage, [record(), old])
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    new = dataclasses.replace(old, trial_id=f"{old.trial_id}x", hparams={"solver": "lbfgs"}, started_at=1.8e9)
    ledger.write_record(storage, new)
    tracker.log(new)
    ledger.write_record(storage, dataclasses.replace(old, status="failed", reason="superseded"))
    tracker.close()
    seen = look(client)
    assert seen[old.trial_id][1] == "FAILED"
    slug = Pair(backbone=old.backbone, task=old.task).slug
    assert seen[slug][3]["best.solver"] == "lbfgs"


def test_parents_of_an_extended_search_show_the_new_numbers(storage, client, record, look):
    slug = Pair(backbone=record().backbone, task=record().task).slug
    track(storage, [record(), record(index=1), record(stage="final")])
    track(storage, [record(index=7, metrics={"val/accuracy": 0.9})])
    metrics = look(client)[slug][5]
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


def test_running_trials_and_feature_passes_have_no_run(storage, client, record, look):
    track(storage, [record(status="running"), record(stage="features")])
    assert all(run[3]["raybench.kind"] == "pair" for run in look(client).values())


def test_more_metrics_than_one_request_takes_are_all_there(storage, client, record, look):
    curve = tuple({"epoch": epoch, "a": 1.0, "b": 2.0} for epoch in range(700))
    track(storage, [record(curve=curve)])
    assert len(look(client)[record().trial_id][5]["curve/b"]) == 700


def test_a_trial_deleted_in_mlflow_stays_deleted_until_rebuilt(storage, client, record, look):
    track(storage, [record()])
    identity = client.get_experiment_by_name(EXPERIMENT).experiment_id
    for run in client.search_runs([identity]):
        client.delete_run(run.info.run_id)
    rebuild(storage, EXPERIMENT)
    assert record().trial_id in look(client)


def test_a_trial_without_a_record_is_refused_and_named(storage, record):
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
        is_over.wait(10)
        raise ConnectionError("no answer")

    monkeypatch.setattr(mlflow_door, "connect", hangs)
    (storage / "mlflow.db").unlink()  # A new file need not be waited for.
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    started = time.perf_counter()
    for record in records:
        tracker.log(record)
    assert time.perf_counter() - started < 0.5
    assert tracker.close(timeout=0.0) == sorted(record.trial_id for record in records)
    is_over.set()
    assert tracker.close() == sorted(record.trial_id for record in records)


def test_closing_without_starting_returns_everything(storage, record):
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.log(record())
    assert tracker.close() == [record().trial_id]


def test_an_outage_is_ridden_out_and_reported(storage, client, records, look, monkeypatch):
    real, broken = mlflow_door.RunWriter._create, []

    def fails_after_creating(self, content, more_tags):
        run = real(self, content, more_tags)
        if len(broken) < 3:
            broken.append(content.key)
            self._known.pop(content.key)
            self._unsure.add(content.key)  # As when the answer is lost on its way.
            raise ConnectionError("http://me:secret@host reset")
        return run

    monkeypatch.setattr(mlflow_door.RunWriter, "_create", fails_after_creating)
    monkeypatch.setattr("raybench.tracking.tracker.FIRST_WAIT", 0.01)
    assert track(storage, records) == []
    assert len(broken) == 3
    assert len(look(client)) == len(records) + 2  # `look` refuses duplicates.


def test_a_server_that_stays_away_costs_the_timeout_and_no_record(storage, records, monkeypatch):
    def away(*_, **__):
        raise ConnectionError("http://me:secret@host refused")

    monkeypatch.setattr(mlflow_door.RunWriter, "write_trial", away)
    tracker = Tracker(None, EXPERIMENT, storage)
    tracker.start()
    for record in records:
        ledger.write_record(storage, record)
        tracker.log(record)
    assert tracker.close(timeout=0.5) == sorted(record.trial_id for record in records)
    assert tracker.state.problem == "ConnectionError: http://host refused"
    assert tracker.state.num_waiting == len(records)
    # Its last attempt must not meet the real MLflow that the end of this test brings back.
    tracker._thread.join(30)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://me:secret@127.0.0.1:9/", "Connection refused"),
        ("nonsense://x", "nonsense"),
    ],
)
def test_an_unreachable_place_is_one_sentence_at_once(storage, uri, said):
    started = time.perf_counter()
    with pytest.raises(TrackingError, match=said) as caught:
        Tracker(uri, EXPERIMENT, storage).start()
    assert time.perf_counter() - started < 20
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused_before_mlflow_loads(storage):
    (storage / "mlflow.db").write_text("this is no database, it is a text of some length " * 20)
    with pytest.raises(TrackingError, match="not a database"):
        Tracker(None, EXPERIMENT, storage).start()


def test_an_experiment_deleted_in_mlflow_is_named_with_the_way_out(storage, client, record):
    track(storage, [record()])
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        Tracker(None, EXPERIMENT, storage).start()


def test_request_settings_are_those_of_the_process_again(storage, record, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    track(storage, [record()])
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
