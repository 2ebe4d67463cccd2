"""A pair's study: search before final, ties by index, resume from records only."""

import random
from dataclasses import replace

import pytest

from raybench.catalog.search_spaces import FINETUNE, KNN, Choice, Float, contains, num_choices
from raybench.core.records import Pair, Task, TrialRecord, TrialRequest, metric_values
from raybench.spec.experiment import Converged
from raybench.tuning.study import PairStudy, StudyPlan

PAIR = Pair(backbone="b", task=Task("finetune", "digits"))
PLAN = StudyPlan(
    experiment="e",
    space=FINETUNE,
    objective="accuracy",
    sampler="qmc",
    num_trials=4,
    search_seed=0,
    seeds=(0, 1),
    max_epochs=3,
    needs_features=False,
)


def record_of(request: TrialRequest, value: float, **changes) -> TrialRecord:
    blank = TrialRecord.of(request, "failed")
    chosen = {"epoch": 2}
    return replace(
        blank,
        status="completed",
        values=metric_values({"val/accuracy": value}),
        chosen=chosen,
        **changes,
    )


def run_to_the_end(study: PairStudy, value_of=lambda request: 0.5) -> list[TrialRequest]:
    made = []
    while (request := study.next_request()) is not None:
        made.append(request)
        study.complete(request, record_of(request, value_of(request)))
    return made


def test_search_comes_first_and_every_seed_is_measured_with_the_winner():
    study = PairStudy(PAIR, PLAN)
    made = run_to_the_end(study, lambda request: 0.9 if request.index == 2 else 0.5)
    assert [request.stage for request in made] == ["search"] * 4 + ["final"] * 2
    assert [request.seed for request in made[4:]] == [0, 1]
    assert all(request.hparams == made[2].hparams for request in made[4:])
    assert study.is_finished
    assert study.failure is None


def test_the_final_stage_waits_for_running_search_trials():
    study = PairStudy(PAIR, PLAN)
    running = [study.next_request() for _ in range(4)]
    assert study.next_request() is None
    for request in running[:3]:
        study.complete(request, record_of(request, 0.5))
    assert study.next_request() is None
    study.complete(running[3], record_of(running[3], 0.5))
    assert study.next_request().stage == "final"


def test_among_equal_scores_the_earliest_trial_wins_whatever_finished_first():
    study = PairStudy(PAIR, PLAN)
    requests = [study.next_request() for _ in range(4)]
    for request in reversed(requests):
        study.complete(request, record_of(request, 0.7))
    assert study.winner.index == 0


def test_a_lower_is_better_objective_prefers_the_lower():
    study = PairStudy(PAIR, replace(PLAN, objective="nll"))
    for request in [study.next_request() for _ in range(4)]:
        values = metric_values({"val/nll": 0.1 + abs(request.index - 2)})
        study.complete(request, replace(record_of(request, 0.7), values=values))
    assert study.winner.index == 2


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe", "gp"])
def test_a_study_rebuilt_from_its_records_has_nothing_left_to_do(sampler):
    plan = replace(PLAN, sampler=sampler)
    first = PairStudy(PAIR, plan)
    run_to_the_end(first)
    again = PairStudy(PAIR, plan, dict(first.records))
    assert again.is_finished
    assert again.next_request() is None


@pytest.mark.parametrize("done", range(7))
def test_a_study_interrupted_anywhere_makes_exactly_the_missing_trials(done):
    whole = PairStudy(PAIR, PLAN)
    wanted = [request.trial_id for request in run_to_the_end(whole)]
    kept = {trial_id: whole.records[trial_id] for trial_id in wanted[:done]}
    rest = run_to_the_end(PairStudy(PAIR, PLAN, kept))
    assert sorted([*kept, *(request.trial_id for request in rest)]) == sorted(wanted)


def test_a_longer_search_keeps_the_trials_of_the_shorter():
    study = PairStudy(PAIR, PLAN)
    run_to_the_end(study)
    longer = PairStudy(PAIR, replace(PLAN, num_trials=6), dict(study.records))
    made = run_to_the_end(longer)
    assert [request.index for request in made if request.stage == "search"] == [4, 5]
    assert [request for request in made if request.stage == "final"] == []


def test_a_finite_space_has_fewer_trials_than_requested():
    study = PairStudy(PAIR, replace(PLAN, space=KNN, num_trials=50))
    made = run_to_the_end(study)
    assert study.num_search == 3
    assert len(made) == 3 + 2


def test_a_recipe_skips_the_search():
    study = PairStudy(PAIR, replace(PLAN, recipe={"lr": 0.001}))
    made = run_to_the_end(study)
    assert [(request.stage, request.hparams) for request in made] == [("final", {"lr": 0.001})] * 2


def test_a_pair_whose_trials_all_fail_gives_the_reason():
    study = PairStudy(PAIR, PLAN)
    while (request := study.next_request()) is not None:
        study.complete(request, TrialRecord.of(request, "failed", "DivergedError: loss is nan"))
    assert study.is_finished
    assert study.failure == "all 4 search trials failed; the last: DivergedError: loss is nan"


def test_one_failed_trial_does_not_stop_the_pair():
    study = PairStudy(PAIR, PLAN)
    bad = study.next_request()
    study.complete(bad, TrialRecord.of(bad, "failed", "out of memory"))
    run_to_the_end(study)
    assert study.failure is None


def test_the_chosen_epoch_is_not_a_hyperparameter_of_the_final_stage():
    study = PairStudy(PAIR, PLAN)
    made = run_to_the_end(study)
    assert "epoch" not in made[-1].hparams


def test_among_equal_scores_the_better_likelihood_wins_then_the_earliest_trial():
    study = PairStudy(PAIR, PLAN)
    nll = {0: 0.4, 1: 0.1, 2: 0.1, 3: 0.9}
    for request in [study.next_request() for _ in range(4)]:
        values = metric_values({"val/accuracy": 0.7, "val/nll": nll[request.index]})
        study.complete(request, replace(record_of(request, 0.7), values=values))
    assert study.winner.index == 1


def searched(study: PairStudy) -> list[dict]:
    return [dict(request.hparams) for request in run_to_the_end(study) if request.stage == "search"]


NARROW = {**FINETUNE, "lr": Float(low=1e-4, high=1e-3, log=True, default=1e-3)}


def test_trials_of_an_earlier_space_count_where_they_lie_in_the_new_one():
    wide = PairStudy(PAIR, replace(PLAN, num_trials=8))
    run_to_the_end(wide)
    inside = {
        record.trial_id: record
        for record in wide.search_records
        if contains(NARROW, record.hparams) and record.index > 0  # The default trial is in both sequences.
    }
    assert 0 < len(inside) < 7
    narrow = PairStudy(PAIR, replace(PLAN, num_trials=8, space=NARROW), wide.records)
    fresh = searched(narrow)
    assert len(fresh) == 8 - len(inside) - 1
    assert len(narrow.search_records) == 8
    assert inside.keys() < {record.trial_id for record in narrow.search_records}
    assert all(contains(NARROW, record.hparams) for record in narrow.search_records)
    resumed = PairStudy(PAIR, narrow.plan, narrow.records)
    assert searched(resumed) == []
    assert resumed.winner == narrow.winner


def test_a_longer_search_in_the_new_space_keeps_its_trials():
    wide = PairStudy(PAIR, replace(PLAN, num_trials=8))
    run_to_the_end(wide)
    narrow = PairStudy(PAIR, replace(PLAN, num_trials=8, space=NARROW), wide.records)
    run_to_the_end(narrow)
    longer = PairStudy(PAIR, replace(narrow.plan, num_trials=12), narrow.records)
    assert len(searched(longer)) == 4


def test_trials_with_another_grid_do_not_count():
    plan = replace(PLAN, space=KNN, num_trials=3)
    old = PairStudy(PAIR, plan)
    run_to_the_end(old)
    changed = PairStudy(PAIR, replace(plan, packed={"k": (1, 2)}), old.records)
    made = run_to_the_end(changed)
    assert [request.stage for request in made].count("search") == 3
    assert {request.trial_id for request in made}.isdisjoint(old.records)
    assert all(request.packed == {"k": (1, 2)} for request in made)


def test_tpe_learns_only_from_trials_of_its_space():
    wide = PairStudy(PAIR, replace(PLAN, sampler="tpe", num_trials=8))
    run_to_the_end(wide)
    narrow = PairStudy(PAIR, replace(PLAN, sampler="tpe", num_trials=10, space=NARROW), wide.records)
    run_to_the_end(narrow)
    assert len(narrow.search_records) == 10
    assert all(contains(NARROW, record.hparams) for record in narrow.search_records)


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe", "gp"])
def test_a_conditional_dimension_has_its_default_where_it_is_not_searched(sampler):
    space = {
        "solver": Choice(options=("sgd", "lbfgs"), default="sgd"),
        "batch_size": Choice(options=(64, 128, 256), default=256, when={"solver": ("sgd",)}),
    }
    made = searched(PairStudy(PAIR, replace(PLAN, space=space, sampler=sampler, num_trials=12)))
    assert {h["batch_size"] for h in made if h["solver"] == "lbfgs"} == {256}
    assert {h["batch_size"] for h in made if h["solver"] == "sgd"} == {64, 128, 256}
    if sampler != "tpe":
        assert len(made) == num_choices(space) == 4


SCORE = {"drop_path": -1.0, "lr": 100.0}


def score(request: TrialRequest) -> float:
    return sum(
        SCORE.get(name, 0.0) * float(value) for name, value in request.hparams.items() if name in SCORE
    )


def run_shuffled(study: PairStudy, seed: int, num_ends: int | None = None) -> list[str]:
    """Run as many trials at once as there are, ending them in random order; ids of search trials by index."""
    rng, running, asked = random.Random(seed), list[TrialRequest](), dict[int, str]()
    while num_ends is None or num_ends > 0:
        while (request := study.next_request()) is not None:
            running.append(request)
            if request.stage == "search":
                asked[request.index] = request.trial_id
        if not running:
            break
        ended = running.pop(rng.randrange(len(running)))
        study.complete(ended, record_of(ended, score(ended)))
        num_ends = None if num_ends is None else num_ends - 1
    return [asked[index] for index in sorted(asked)]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_order_in_which_trials_end_changes_no_trial(sampler):
    plan = replace(PLAN, sampler=sampler, num_trials=10, max_parallel=3)
    runs = [run_shuffled(PairStudy(PAIR, plan), seed) for seed in range(3)]
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 10


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe", "gp", "grid"])
@pytest.mark.parametrize("done", [1, 5, 9])
def test_an_interrupted_search_continues_with_the_same_trials(sampler, done):
    space = {**KNN, "x": Choice(options=(1, 2, 3, 4), default=2)} if sampler == "grid" else FINETUNE
    plan = replace(PLAN, space=space, sampler=sampler, num_trials=10, max_parallel=3)
    whole = run_shuffled(PairStudy(PAIR, plan), 0)
    killed = PairStudy(PAIR, plan)
    run_shuffled(killed, 1, num_ends=done)
    rest = run_shuffled(PairStudy(PAIR, plan, killed.records), 2)
    ended = [trial_id for trial_id in killed.records if "-search-" in trial_id]
    assert len(ended) == done
    assert sorted([*ended, *rest]) == sorted(whole)


def test_a_model_waits_for_the_results_it_uses():
    study = PairStudy(PAIR, replace(PLAN, sampler="tpe", num_trials=10, max_parallel=3))
    first, second, third = (study.next_request() for _ in range(3))
    assert study.next_request() is None
    study.complete(third, record_of(third, 0.5))
    study.complete(second, record_of(second, 0.5))
    assert study.next_request() is None, "trial 3 needs the result of trial 0"
    study.complete(first, record_of(first, 0.5))
    assert [study.next_request().index for _ in range(3)] == [3, 4, 5]
    assert study.next_request() is None


CONVERGED = Converged(trials=3, tolerance=0.01)


def stagnating(request: TrialRequest) -> float:
    """Better until trial 2, then no more than the tolerance."""
    return (0.1, 0.5, 0.8, 0.805, 0.7, 0.809, 0.99)[min(request.index, 6)]


@pytest.mark.parametrize("sampler", ["qmc", "tpe"])
def test_a_search_ends_once_its_best_has_not_improved_in_so_many_trials(sampler):
    plan = replace(PLAN, sampler=sampler, num_trials=20, converged=CONVERGED)
    study = PairStudy(PAIR, plan)
    made = run_to_the_end(study, stagnating)
    # After trial 5 the best is 0.809, three trials earlier it was 0.8.
    assert [request.index for request in made if request.stage == "search"] == [0, 1, 2, 3, 4, 5]
    assert (study.is_finished, study.is_converged, study.num_search) == (True, True, 6)
    again = PairStudy(PAIR, plan, study.records)
    assert again.is_finished
    assert again.next_request() is None


def test_trials_that_run_when_the_search_converges_still_count():
    study = PairStudy(PAIR, replace(PLAN, num_trials=20, converged=CONVERGED))
    running = [study.next_request() for _ in range(8)]
    for request in running[:6]:
        study.complete(request, record_of(request, stagnating(request)))
    assert study.is_converged
    assert study.next_request() is None, "two search trials are running"
    for request in running[6:]:
        study.complete(request, record_of(request, stagnating(request)))
    assert study.winner.index == 6
    assert study.next_request().stage == "final"


def test_failed_trials_alone_are_no_convergence():
    study = PairStudy(PAIR, replace(PLAN, num_trials=6, converged=CONVERGED))
    while (request := study.next_request()) is not None:
        study.complete(request, TrialRecord.of(request, "failed", "out of memory"))
    assert (study.is_converged, study.num_search) == (False, 6)
