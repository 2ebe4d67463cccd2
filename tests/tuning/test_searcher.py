"""What the searcher does when the storage goes away between two trials."""

from types import SimpleNamespace

from ray.tune.search import Searcher

from raybench.core.errors import StorageUnavailableError
from raybench.core.records import Pair, Task, TrialRecord, TrialRequest
from raybench.tuning.job import TrialListener
from raybench.tuning.searcher import ExperimentSearcher

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
        return TrialRecord.failed(request, "")


def test_a_storage_that_is_away_before_a_trial_begins_ends_the_run_once_the_others_have_ended():
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
    assert searcher.suggest("second") is None, "the first one is still under way"
    assert searcher.stopped_by == "the bucket does not answer"
    searcher.on_trial_complete("first")
    assert searcher.suggest("third") == Searcher.FINISHED
