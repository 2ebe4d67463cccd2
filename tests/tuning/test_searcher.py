"""The searcher between Tune and the studies: a storage that becomes unreachable, and its work per trial."""

import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import ClassVar

from ray.tune.search import Searcher

import raybench
from raybench.catalog.search_spaces import KNN
from raybench.core.errors import StorageUnavailableError
from raybench.core.records import Pair, Task, TrialRecord, TrialRequest, metric_values
from raybench.tuning.job import TrialListener
from raybench.tuning.scheduler import ExperimentScheduler
from raybench.tuning.searcher import ExperimentSearcher
from raybench.tuning.study import PairStudy, StudyPlan

REQUEST = TrialRequest(
    experiment="e",
    pair=Pair(backbone="b", task=Task("knn", "digits")),
    stage="search",
    index=0,
    hparams={},
    seed=0,
    max_epochs=1,
)


class Unreachable(TrialListener):
    """Its storage becomes unreachable at some point."""

    is_unreachable = False

    def on_start(self, request: TrialRequest) -> None:
        if self.is_unreachable:
            raise StorageUnavailableError("the bucket does not answer")

    def collect(self, request: TrialRequest, reason: str | None) -> TrialRecord:
        return TrialRecord.of(request, "failed")


def test_sentences_of_a_trial_are_shown_when_it_ends():
    class Listener(Unreachable):
        notes: ClassVar[list[str]] = []

        def note(self, line: str) -> None:
            self.notes.append(line)

    study = PairStudy(REQUEST.pair, PLAN)
    searcher = ExperimentSearcher([study], Listener(), make_config=lambda r: {}, num_slots=lambda: 1)
    searcher.suggest("first")
    scheduler = ExperimentScheduler(early_stopping="none", failure_reasons={}, notes=searcher.notes)
    trial = SimpleNamespace(trial_id="first", config={"request": REQUEST})
    scheduler.on_trial_complete(None, trial, {"epoch": 0, "notes": ["features are damaged"]})
    searcher.on_trial_complete("first")
    assert Listener.notes == ["features are damaged"]


def test_an_unreachable_storage_ends_the_run_once_the_running_trials_have_ended():
    study = SimpleNamespace(
        is_finished=False,
        pair=REQUEST.pair,
        plan=SimpleNamespace(needs_features=False),
        next_request=lambda: REQUEST,
    )
    listener = Unreachable()
    searcher = ExperimentSearcher(
        [study], listener, make_config=lambda request: {"trial": request.trial_id}, num_slots=lambda: 2
    )
    assert searcher.suggest("first") == {"trial": REQUEST.trial_id}
    listener.is_unreachable = True
    assert searcher.suggest("second") is None, "the first trial is still running"
    assert searcher.stopped_by == "the bucket does not answer"
    searcher.on_trial_complete("first")
    assert searcher.suggest("third") == Searcher.FINISHED


PLAN = StudyPlan(
    experiment="e",
    space=KNN,
    objective="accuracy",
    sampler="qmc",
    num_trials=2,
    search_seed=0,
    seeds=(0,),
    max_epochs=1,
    needs_features=False,
)


class Collecting(TrialListener):
    """Every trial completes with the same accuracy."""

    def collect(self, request: TrialRequest, reason: str | None) -> TrialRecord:
        return completed(request)


def completed(request: TrialRequest) -> TrialRecord:
    failed = TrialRecord.of(request, "failed")
    return replace(failed, status="completed", values=metric_values({"val/accuracy": 0.5}))


def calls_per_trial(num_pairs: int, num_slots: int = 1) -> float:
    """Python functions of raybench that are called per trial, from the first `suggest` to FINISHED."""
    pairs = [Pair(backbone=f"b{i}", task=Task("knn", "digits")) for i in range(num_pairs)]
    studies = [PairStudy(pair, PLAN) for pair in pairs]
    searcher = ExperimentSearcher(
        studies, Collecting(), make_config=lambda request: {}, num_slots=lambda: num_slots
    )
    package = str(Path(raybench.__file__).parent)
    num_calls = num_trials = 0
    running: list[str] = []

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal num_calls
        num_calls += event == "call" and frame.f_code.co_filename.startswith(package)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        while (config := searcher.suggest(f"trial-{num_trials}")) != Searcher.FINISHED:
            if config is None:
                assert running, "no trial is running, so there is nothing to wait for"
                searcher.on_trial_complete(running.pop(0))
            else:
                running.append(f"trial-{num_trials}")
                num_trials += 1
    finally:
        sys.setprofile(before)
    assert all(study.is_finished for study in studies)
    assert num_trials == num_pairs * 3
    return num_calls / num_trials


def test_the_work_per_trial_does_not_grow_with_the_number_of_pairs():
    assert calls_per_trial(200) < 1.1 * calls_per_trial(10)


def test_the_work_per_trial_does_not_grow_while_every_pair_waits_for_running_trials():
    assert calls_per_trial(200, num_slots=1000) < 1.1 * calls_per_trial(10, num_slots=1000)


def test_pairs_that_share_features_start_once_these_have_ended_the_first_pair_first():
    plan = replace(PLAN, needs_features=True)
    pairs = [Pair(backbone="b", task=Task(protocol, "digits")) for protocol in ("knn", "linear_probe")]
    started: list[TrialRequest] = []
    searcher = ExperimentSearcher(
        [PairStudy(pair, plan) for pair in pairs],
        Collecting(),
        make_config=lambda request: started.append(request) or {},
        num_slots=lambda: 9,
    )
    assert searcher.suggest("features") == {}
    assert searcher.suggest("too early") is None
    searcher.on_trial_complete("features")
    for i in range(4):
        assert searcher.suggest(f"search {i}") == {}
    assert searcher.suggest("waiting for the search") is None
    assert [request.stage for request in started] == ["features"] + ["search"] * 4
    assert [request.pair for request in started[1:]] == [pairs[0]] * 2 + [pairs[1]] * 2
    searcher.on_trial_complete("search 2")
    searcher.on_trial_complete("search 3")
    assert searcher.suggest("final") == {}
    assert (started[-1].stage, started[-1].pair) == ("final", pairs[1])


def test_a_continued_experiment_looks_at_finished_pairs_once(monkeypatch):
    pairs = [Pair(backbone=f"b{i}", task=Task("knn", "digits")) for i in range(200)]
    studies = [PairStudy(pair, PLAN) for pair in pairs]
    for study in studies[:-1]:
        while (request := study.next_request()) is not None:
            study.complete(request, completed(request))
    num_looks, is_finished = 0, PairStudy.is_finished.fget

    def counted(study: PairStudy) -> bool:
        nonlocal num_looks
        num_looks += 1
        return is_finished(study)

    monkeypatch.setattr(PairStudy, "is_finished", property(counted))
    searcher = ExperimentSearcher(studies, Collecting(), make_config=lambda request: {}, num_slots=lambda: 1)
    for i in range(3):
        assert searcher.suggest(f"trial-{i}") == {}
        searcher.on_trial_complete(f"trial-{i}")
    assert searcher.suggest("trial-3") == Searcher.FINISHED
    assert num_looks == 200 + 3


def test_a_search_begins_when_the_last_shard_of_its_features_has_ended():
    pairs = [Pair(backbone="b", task=Task(protocol, "digits")) for protocol in ("knn", "linear_probe")]
    studies = [PairStudy(pair, replace(PLAN, needs_features=True)) for pair in pairs]
    searcher = ExperimentSearcher(
        studies,
        Collecting(),
        make_config=lambda request: {"request": request},
        num_slots=lambda: 4,
        num_shards={"digits": 3},
    )
    shards = [searcher.suggest(f"shard-{i}")["request"] for i in range(3)]
    assert [request.hparams for request in shards] == [{"shard": i, "num_shards": 3} for i in range(3)]
    assert len({request.trial_id for request in shards}) == 3
    assert {request.stage for request in shards} == {"features"}
    for i in (2, 0):
        searcher.on_trial_complete(f"shard-{i}")
        assert searcher.suggest("early") is None, "a shard is still running"
    searcher.on_trial_complete("shard-1")
    assert searcher.suggest("search")["request"].stage == "search"
