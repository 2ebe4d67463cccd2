"""Work left of an experiment, and records of trials that Tune has ended."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raybench.core.errors import SpecError
from raybench.core.records import Measurement, Pair, Task, TrialRecord, TrialRequest, metric_values
from raybench.evaluation.outcomes import Predictions
from raybench.experiment.reconcile import (
    final_record,
    hygiene_notes,
    make_studies,
    reopen,
    store_spec,
    withdraw_superseded,
)
from raybench.spec import ExperimentSpec, load_spec
from raybench.store import layout, ledger
from raybench.store.artifacts import write_classifier
from raybench.store.measurements import read_measurements, write_measurements
from raybench.store.predictions import write_predictions
from raybench.tuning.study import PairStudy

SPEC = """
name: small
backbones: [mini_resnet.random, mini_vit.random]
tasks: [knn@digits]
search: {num_trials: 2}
budget: quick
seeds: [0, 1]
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ExperimentSpec]:
    """`read(old=new, …)` checks SPEC with replacements made in its text."""

    def check(*replacements: tuple[str, str]) -> ExperimentSpec:
        text = SPEC
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return load_spec(path)

    return check


@pytest.fixture
def spec(read) -> ExperimentSpec:
    return read()


def completed(request: TrialRequest, accuracy: float = 0.5, **changes) -> TrialRecord:
    metrics = {"val/accuracy": accuracy}
    if request.stage == "final":
        metrics["test/accuracy"] = accuracy
    done = replace(TrialRecord.of(request, "failed"), status="completed", values=metric_values(metrics))
    return replace(done, **changes)


def run_to_the_end(study: PairStudy) -> list[TrialRecord]:
    while (request := study.next_request()) is not None:
        study.complete(request, completed(request))
    return list(study.records.values())


def test_every_pair_has_a_study_that_continues_from_its_records(spec):
    first, second = make_studies(spec, [])
    records = run_to_the_end(first)
    again, untouched = make_studies(spec, records)
    assert again.is_finished
    assert again.next_request() is None
    assert untouched.next_request() == second.next_request()


@pytest.mark.parametrize("status", ["failed", "running"])
def test_failed_and_interrupted_trials_are_run_again(spec, status):
    first, _ = make_studies(spec, [])
    *kept, last = run_to_the_end(first)
    again, _ = make_studies(spec, [*kept, replace(last, status=status)])
    assert again.next_request().trial_id == last.trial_id


def test_a_trial_stopped_early_is_not_run_again(spec):
    first, _ = make_studies(spec, [])
    request = first.next_request()
    again, _ = make_studies(spec, [completed(request, status="stopped")])
    assert again.next_request().trial_id != request.trial_id


def test_records_of_features_and_of_other_pairs_are_ignored(spec):
    study, _ = make_studies(spec, [])
    features = completed(study.features_requests()[0])
    stranger = completed(
        replace(study.next_request(), pair=Pair(backbone="gone", task=Task("knn", "digits")))
    )
    assert not any(study.records for study in make_studies(spec, [features, stranger]))


def test_added_seeds_run_only_the_new_final_trials(spec, read):
    records = [record for study in make_studies(spec, []) for record in run_to_the_end(study)]
    study, _ = make_studies(read(("seeds: [0, 1]", "seeds: [0, 1, 2]")), records)
    request = study.next_request()
    assert (request.stage, request.seed) == ("final", 2)
    assert study.next_request() is None


def test_an_added_evaluator_runs_the_final_trials_again_and_no_search(spec, read):
    records = [record for study in make_studies(spec, []) for record in run_to_the_end(study)]
    more = read(("seeds: [0, 1]", "seeds: [0, 1]\nevaluators: [calibration]"))
    study, _ = make_studies(more, records)
    requests = [study.next_request(), study.next_request()]
    assert [(request.stage, request.seed) for request in requests] == [("final", 0), ("final", 1)]
    digests = {name: settings.digest for name, settings in more.evaluators_of("knn").items()}
    measured = [
        replace(record, evaluations=digests) if record.stage == "final" else record for record in records
    ]
    assert all(study.is_finished for study in make_studies(more, measured))


def test_an_evaluator_with_changed_settings_runs_the_final_trials_again(spec, read):
    records = [record for study in make_studies(spec, []) for record in run_to_the_end(study)]
    evaluators = "seeds: [0, 1]\nevaluators: [{corruption: {severities: [1]}}]"
    before = read(("seeds: [0, 1]", evaluators))
    digests = {name: settings.digest for name, settings in before.evaluators_of("knn").items()}
    assert set(digests) == {"corruption"}
    measured = [replace(r, evaluations=digests) if r.stage == "final" else r for r in records]
    assert all(study.is_finished for study in make_studies(before, measured))
    after = read(("seeds: [0, 1]", evaluators.replace("[1]", "[1, 2]")))
    for study in make_studies(after, measured):
        requests = [study.next_request(), study.next_request()]
        assert [(request.stage, request.seed) for request in requests] == [("final", 0), ("final", 1)]
        assert study.next_request() is None, "no search trial and no third seed"


def test_a_recipe_has_a_study_without_search(read):
    hparams = "hparams: {feature_norm: l2, k: 5, weighting: uniform}"
    recipe = read(("search: {num_trials: 2}", hparams))
    study, _ = make_studies(recipe, [])
    assert study.next_request().stage == "final"


def request_of(spec: ExperimentSpec) -> TrialRequest:
    return make_studies(spec, [])[0].next_request()


def test_the_record_is_the_one_the_worker_wrote(spec, tmp_path):
    request = request_of(spec)
    ledger.write_record(tmp_path, completed(request, 0.7))
    assert final_record(tmp_path, request, None).by_key == {"val/accuracy": 0.7}


def test_a_trial_ended_by_early_stopping_is_stopped_and_keeps_its_values(spec, tmp_path):
    request = request_of(spec)
    ledger.write_record(tmp_path, completed(request, 0.7, status="running"))
    record = final_record(tmp_path, request, None)
    assert (record.status, record.by_key["val/accuracy"]) == ("stopped", 0.7)
    assert ledger.read_record(tmp_path, "small", request.trial_id).status == "stopped"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("its process died", "its process died"), (None, "it ended without writing its record")],
)
def test_a_trial_without_a_record_has_failed_with_a_reason(spec, tmp_path, cause, reason):
    request = request_of(spec)
    record = final_record(tmp_path, request, cause)
    assert (record.status, record.reason) == ("failed", reason)
    assert ledger.read_record(tmp_path, "small", request.trial_id) == record


def test_a_killed_trial_has_failed_though_its_record_says_running(spec, tmp_path):
    request = request_of(spec)
    ledger.write_record(tmp_path, completed(request, status="running"))
    assert final_record(tmp_path, request, "its node was lost").status == "failed"


def test_the_status_of_an_earlier_attempt_is_not_taken_for_this_ones(spec, tmp_path):
    request = request_of(spec)
    earlier = replace(
        TrialRecord.of(request, "failed", "the mount was away"),
        values=metric_values({"test/accuracy": 0.5}),
    )
    ledger.write_record(tmp_path, earlier)
    reopen(tmp_path, request)
    assert ledger.read_record(tmp_path, "small", request.trial_id).status == "running"
    record = final_record(tmp_path, request, "its process died")
    assert (record.status, record.reason) == ("failed", "its process died")
    assert record.by_key == {"test/accuracy": 0.5}


def test_a_worker_that_dies_after_writing_its_record_has_completed_its_trial(spec, tmp_path):
    request = request_of(spec)
    ledger.write_record(tmp_path, completed(request))
    assert final_record(tmp_path, request, "its process died") == completed(request)


def test_the_reason_that_a_hanging_worker_wrote_is_kept(spec, tmp_path):
    request = request_of(spec)
    hung = TrialRecord.of(request, "failed", "one step took longer than 5 s and was ended")
    ledger.write_record(tmp_path, hung)
    assert final_record(tmp_path, request, "its process died") == hung


def write_results(storage: Path, record: TrialRecord) -> None:
    """A measurement, predictions and a classifier of a final trial."""
    measurement = Measurement(
        experiment="small",
        backbone=record.pair.backbone,
        task=record.pair.task,
        split="test",
        metric="accuracy",
        value=0.5,
        num_examples=2,
        seed=record.seed,
    )
    trial = (storage, "small", record.trial_id)
    write_measurements(*trial, [measurement], {})
    examples = Predictions(ids=("a", "b"), targets=np.array([0, 1]), logits=np.eye(2, dtype=np.float32))
    write_predictions(*trial, {"test": examples}, pair=record.pair, seed=record.seed)
    write_classifier(*trial, {"weights": torch.ones(2)})


def test_final_results_are_withdrawn_once_a_longer_search_has_another_winner(spec, read, tmp_path):
    study, _ = make_studies(spec, [])
    for record in run_to_the_end(study):
        ledger.write_record(tmp_path, record)
        if record.stage == "final":
            write_results(tmp_path, record)
            assert layout.predictions_file(tmp_path, "small", record.trial_id).is_file()
    longer, _ = make_studies(read(("num_trials: 2", "num_trials: 3")), ledger.read_records(tmp_path, "small"))
    withdraw_superseded(tmp_path, longer)
    assert read_measurements(tmp_path).height == 2, "the search is not over"

    better = longer.next_request()
    longer.complete(better, completed(better, 0.9))
    withdraw_superseded(tmp_path, longer)
    assert read_measurements(tmp_path).height == 0
    old = [record for record in ledger.read_records(tmp_path, "small") if record.stage == "final"]
    assert len(old) == 2
    for record in old:
        assert not layout.predictions_file(tmp_path, "small", record.trial_id).is_file()
        assert not layout.classifier_file(tmp_path, "small", record.trial_id).is_file()
    assert {(record.status, record.reason) for record in old} == {
        ("failed", "superseded by a better search trial")
    }
    assert [request.seed for request in (longer.next_request(), longer.next_request())] == [0, 1]


def test_a_spec_that_contradicts_the_stored_one_is_refused_with_advice(spec, read, tmp_path):
    store_spec(spec, tmp_path)
    other = read(("num_trials: 2", "num_trials: 2, seed: 7"))
    with pytest.raises(SpecError) as caught:
        store_spec(other, tmp_path)
    assert f"{tmp_path} already holds an experiment 'small' that differs" in str(caught.value)
    assert "search.seed: 0 → 7" in caught.value.problems
    assert caught.value.problems[-1] == "rename the experiment, or give another `--storage`."
    assert ledger.load_spec(tmp_path, "small") == spec.to_dict()


def test_a_spec_that_extends_the_stored_one_replaces_it(spec, read, tmp_path):
    store_spec(spec, tmp_path)
    more = read(("num_trials: 2", "num_trials: 3"))
    store_spec(more, tmp_path)
    assert ledger.load_spec(tmp_path, "small") == more.to_dict()


def test_images_left_out_of_a_dataset_are_reported_once_with_their_count(spec):
    study = make_studies(spec, [])[0]
    run_to_the_end(study)
    assert hygiene_notes([study]) == []
    hygiene = {"duplicates_removed": {"train": 2, "val": 1}, "num_skipped": 4}
    for trial_id, record in study.records.items():
        study.records[trial_id] = replace(record, provenance=hygiene)
    assert hygiene_notes([study, study]) == [
        "digits: 3 images dropped: a later split holds the same pixels.",
        "digits: 4 unreadable images were skipped, as the spec allows.",
    ]


def test_a_corrected_dataset_of_an_evaluator_repeats_the_evaluator_and_no_trial(read, tmp_path):
    for folder in ("wrong/test/a", "right/a"):
        (tmp_path / folder).mkdir(parents=True)
    evaluators = "seeds: [0, 1]\nevaluators: [calibration, {ood: {near: [other]}}]\n"
    spec, corrected = (
        read(
            ("seeds: [0, 1]", evaluators),
            ("search:", f"datasets: {{other: {{folder: {folder}, test_only: true}}}}\nsearch:"),
        )
        for folder in ("wrong", "right")
    )
    assert store_spec(spec, tmp_path) == []
    digests = {name: settings.digest for name, settings in spec.evaluators_of("knn").items()}
    study = make_studies(spec, [])[0]
    while (request := study.next_request()) is not None:
        done = completed(request, evaluations=digests if request.stage == "final" else {})
        ledger.write_record(tmp_path, done)
        study.complete(request, done)
    before = ledger.read_records(tmp_path, "small")
    assert make_studies(corrected, before)[0].is_finished

    (sentence,) = store_spec(corrected, tmp_path)
    assert sentence == "datasets.other: changed; ood measures again"
    again = make_studies(corrected, ledger.read_records(tmp_path, "small"))[0]
    assert [request.stage for request in (again.next_request(), again.next_request())] == ["final", "final"]
    after = ledger.read_records(tmp_path, "small")
    finals = [record for record in after if record.stage == "final"]
    assert all(set(record.evaluations) == {"calibration"} for record in finals)
    assert [record.values for record in after] == [record.values for record in before]
    assert store_spec(corrected, tmp_path) == []
