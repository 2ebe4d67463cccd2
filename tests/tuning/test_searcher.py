"""What the searcher does when the storage goes away between two trials."""

from types import SimpleNamespace

from ray.tune.search import Searcher

from raybench.core.errors import StorageUnavailableError
from raybench.core.records import Pair, TrialRequest
from raybench.tuning.searcher import ExperimentSearcher

REQUEST = TrialRequest(
    experiment="e",
    pair=Pair(backbone="b", task="knn@digits"),
    stage="search",
    index=0,
    hparams={},
    seed=0,
    max_epochs=1,
)


def test_a_storage_that_is_away_before_a_trial_begins_ends_the_run_once_the_others_have_ended():
    study = SimpleNamespace(
        is_finished=False, plan=SimpleNamespace(needs_features=False), next_request=lambda: REQUEST
    )
    is_away = []

    def on_start(request: TrialRequest) -> None:
        if is_away:
            raise StorageUnavailableError("the bucket does not answer")

    searcher = ExperimentSearcher(
        [study],
        with_features=set(),
        feature_key=str,
        make_config=lambda request: {"trial": request.trial_id},
        on_start=on_start,
        collect=lambda request, reason: None,
        on_end=lambda *ended: None,
        num_slots=lambda: 2,
    )
    assert searcher.suggest("first") == {"trial": REQUEST.trial_id}
    is_away.append(True)
    assert searcher.suggest("second") is None, "the first one is still under way"
    assert searcher.stopped_by == "the bucket does not answer"
    searcher.on_trial_complete("first")
    assert searcher.suggest("third") == Searcher.FINISHED
