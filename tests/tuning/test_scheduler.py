"""ASHA per pair, driven with plain trials and results: who is stopped, and who never is."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler

from raybench.core.records import CurvePoint, Pair, Task, TrialRecord, TrialRequest
from raybench.tuning.scheduler import ExperimentScheduler
from raybench.tuning.stopping import REDUCTION_FACTOR, HyperBandRule
from raybench.tuning.study import PairStudy

MAX_EPOCHS = 16
"""Rungs after epochs 1, 4 and 16."""


def make_trial(index: int, *, backbone: str = "b", stage: str = "search", max_epochs: int = MAX_EPOCHS):
    """What the scheduler reads of one of Tune's trials."""
    request = TrialRequest(
        experiment="e",
        pair=Pair(backbone=backbone, task=Task("finetune", "digits")),
        stage=stage,
        index=index,
        hparams={},
        seed=0,
        max_epochs=max_epochs,
    )
    return SimpleNamespace(trial_id=request.trial_id, config={"request": request})


def make_scheduler(early_stopping: str = "asha") -> ExperimentScheduler:
    return ExperimentScheduler(early_stopping=early_stopping, failure_reasons={}, notes={})


def epochs_trained(scheduler: ExperimentScheduler, trial: SimpleNamespace, objective: float) -> int:
    """Epochs until the scheduler stops the trial, which reports the same objective after each."""
    scheduler.on_trial_add(None, trial)
    for epoch in range(1, MAX_EPOCHS + 1):
        result = {"epoch": epoch, "objective": objective}
        if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
            break
    scheduler.on_trial_complete(None, trial, result)
    return epoch


def test_a_worse_trial_stops_at_the_first_rung_and_a_better_one_runs_to_the_end():
    scheduler = make_scheduler()
    assert epochs_trained(scheduler, make_trial(0), 0.5) == 16
    assert epochs_trained(scheduler, make_trial(1), 0.4) == 1
    assert epochs_trained(scheduler, make_trial(2), 0.6) == 16


@pytest.mark.parametrize("seed", range(3))
def test_only_the_best_quarter_of_the_trials_so_far_passes_the_first_rung(seed):
    scheduler, seen = make_scheduler(), []
    for index, objective in enumerate(np.random.default_rng(seed).random(40)):
        epochs = epochs_trained(scheduler, make_trial(index), float(objective))
        num_better = sum(value > objective for value in seen)
        if num_better > 1 + (len(seen) - 1) / REDUCTION_FACTOR:  # The cutoff lies between two of them.
            assert epochs == 1, "more than a quarter of the earlier trials are better"
        if num_better == 0:
            assert epochs == 16, "no earlier trial is better"
        seen.append(objective)


def test_a_trial_whose_objective_falls_behind_stops_at_a_later_rung():
    scheduler, falling = make_scheduler(), make_trial(1)
    assert epochs_trained(scheduler, make_trial(0), 0.5) == 16
    scheduler.on_trial_add(None, falling)
    actions = [
        scheduler.on_trial_result(None, falling, {"epoch": epoch, "objective": 0.6 if epoch < 3 else 0.1})
        for epoch in (1, 2, 3, 4)
    ]
    assert actions == [TrialScheduler.CONTINUE] * 3 + [TrialScheduler.STOP]


def test_trials_are_compared_within_their_pair_only():
    scheduler = make_scheduler()
    assert epochs_trained(scheduler, make_trial(0, backbone="strong"), 0.9) == 16
    assert epochs_trained(scheduler, make_trial(0, backbone="weak"), 0.1) == 16
    assert epochs_trained(scheduler, make_trial(1, backbone="weak"), 0.05) == 1


@pytest.mark.parametrize("stage", ["features", "final"])
def test_only_search_trials_are_stopped(stage):
    scheduler = make_scheduler()
    assert epochs_trained(scheduler, make_trial(0), 0.9) == 16
    trial = make_trial(1, stage=stage)
    for epoch in range(1, MAX_EPOCHS + 1):
        result = {"epoch": epoch, "objective": 0.1}
        assert scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE


def test_without_asha_no_trial_is_stopped():
    scheduler = make_scheduler("none")
    for index, objective in enumerate([0.9, 0.1]):
        trial = make_trial(index)
        for epoch in range(1, MAX_EPOCHS + 1):
            result = {"epoch": epoch, "objective": objective}
            assert scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE


def test_a_failed_trial_does_not_count_and_its_reason_is_kept(tmp_path):
    reasons: dict[str, str] = {}
    scheduler = ExperimentScheduler(early_stopping="asha", failure_reasons=reasons, notes={})
    failed = make_trial(0)
    failed.error_file = tmp_path / "error.txt"
    failed.error_file.write_text(
        "Failure # 1 (at noon)\nTraceback\n  line 3\nRuntimeError: its node was lost\n"
    )
    scheduler.on_trial_add(None, failed)
    scheduler.on_trial_error(None, failed)
    assert reasons == {failed.trial_id: "RuntimeError: its node was lost"}
    # A failed trial reports no objective, which is no reason to stop it or to compare others with it.
    assert scheduler.on_trial_result(None, failed, {"epoch": 1, "done": True}) == TrialScheduler.CONTINUE
    assert epochs_trained(scheduler, make_trial(1), 0.1) == 16


def test_the_median_stops_a_trial_whose_best_is_below_the_running_means_of_most_others():
    scheduler = make_scheduler("median")
    for index, objective in enumerate([0.2, 0.4, 0.6]):
        assert epochs_trained(scheduler, make_trial(index), objective) == 16, "three trials must come first"
    assert epochs_trained(scheduler, make_trial(3), 0.39) == 1
    assert epochs_trained(scheduler, make_trial(4), 0.5) == 16


def test_a_trial_that_learns_late_is_judged_by_its_best_and_the_others_by_their_means():
    scheduler = make_scheduler("median")
    for index in range(3):  # Running mean after epoch e: 0.1 · (e + 1) / 2.
        rising = make_trial(index)
        for epoch in range(1, MAX_EPOCHS + 1):
            scheduler.on_trial_result(None, rising, {"epoch": epoch, "objective": 0.1 * epoch})
    late = make_trial(3)
    actions = [
        scheduler.on_trial_result(None, late, {"epoch": epoch, "objective": 0.31}) for epoch in (1, 2, 5, 6)
    ]
    assert actions == [TrialScheduler.CONTINUE] * 3 + [TrialScheduler.STOP]  # Means 0.1, 0.15, 0.3 and 0.35.


def test_hyperband_shares_trials_out_in_proportion_to_its_brackets():
    rule = HyperBandRule(MAX_EPOCHS)
    brackets = [rule.bracket(index) for index in range(25)]
    # s_max = 2, eta = 4: n_s = 16, ⌈3 / 2 · 4⌉ = 6 and 3.
    assert [brackets.count(bracket) for bracket in range(3)] == [16, 6, 3]
    assert set(brackets[:8]) == {0, 1, 2}, "a short search has trials of every bracket"
    assert [HyperBandRule(MAX_EPOCHS).bracket(index) for index in (24, 3, 11)] == [
        brackets[index] for index in (24, 3, 11)
    ], "the bracket follows from the index alone"


def test_hyperband_stops_a_poor_trial_at_the_first_rung_of_its_bracket():
    rule, scheduler = HyperBandRule(MAX_EPOCHS), make_scheduler("hyperband")
    members = {b: [index for index in range(25) if rule.bracket(index) == b][:2] for b in range(3)}
    for bracket, epochs in {0: 1, 1: 4, 2: 16}.items():
        better, poorer = members[bracket]
        assert epochs_trained(scheduler, make_trial(better), 0.9) == 16
        assert epochs_trained(scheduler, make_trial(poorer), 0.1) == epochs


@pytest.mark.parametrize("early_stopping", ["asha", "hyperband", "median"])
def test_after_a_restart_new_trials_are_compared_with_those_of_the_earlier_run(early_stopping):
    curve = tuple(CurvePoint(epoch=epoch, metrics={"nll": 0.1}) for epoch in range(1, MAX_EPOCHS + 1))
    requests = [make_trial(index).config["request"] for index in range(12)]
    records = [replace(TrialRecord.of(request, "completed"), curve=curve) for request in requests]
    study = SimpleNamespace(
        pair=requests[0].pair,
        plan=SimpleNamespace(objective="nll"),
        search_records=records,
        learning_curves=lambda: PairStudy.learning_curves(study),
    )
    scheduler = ExperimentScheduler(
        early_stopping=early_stopping, failure_reasons={}, notes={}, studies=[study]
    )
    index = next(i for i in range(12, 25) if HyperBandRule(MAX_EPOCHS).bracket(i) == 0)
    assert epochs_trained(scheduler, make_trial(index), -0.5) == 1  # nll 0.5 against 0.1.
