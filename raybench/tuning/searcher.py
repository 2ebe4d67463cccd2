"""Hands trials of all pairs to one Tuner, as the studies ask for them.

One `Searcher` for the whole experiment: features first (once per backbone and dataset), then a pair's search,
then its final stage, while other pairs are still at theirs. Where a study has nothing to start yet, the next
one is asked. Tune calls `suggest` and `on_trial_complete` from one thread.
"""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from raybench.core.errors import StorageUnavailableError
from raybench.core.records import TrialRecord, TrialRequest
from raybench.tuning.study import PairStudy

Collect = Callable[[TrialRequest, str | None], TrialRecord]
"""(request, why its process failed or None) → the trial's record, now final in the ledger."""
OnEnd = Callable[[PairStudy, TrialRequest, TrialRecord], None]


class ExperimentSearcher(Searcher):
    """Tune's view of all studies: `suggest` gives the next trial's config, None: wait, FINISHED: all done."""

    def __init__(
        self,
        studies: list[PairStudy],
        *,
        with_features: set[str],
        feature_key: Callable[[PairStudy], str],
        make_config: Callable[[TrialRequest], dict[str, Any]],
        on_start: Callable[[TrialRequest], None],
        collect: Collect,
        on_end: OnEnd,
        num_slots: Callable[[], int],
    ) -> None:
        """`num_slots` says how many trials may be under way now."""
        super().__init__()  # No metric: studies read the ledger, and a feature trial has no objective.
        self._studies = studies
        self._feature_key = feature_key
        self._with_features = with_features
        self._awaiting_features: set[str] = set()
        self._running: dict[str, tuple[PairStudy, TrialRequest]] = {}
        self._make_config = make_config
        self._on_start = on_start
        self._collect = collect
        self._on_end = on_end
        self._num_slots = num_slots
        self.failure_reasons: dict[str, str] = {}
        """Tune trial id → why its process failed; filled by `FailureReasons`, which hears of it first."""
        self.stopped_by: str | None = None
        """Why no more trials are handed out: the storage takes no writes. Those under way end."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher to restore it; raybench continues from the ledger instead, and what the
        # searcher holds (a progress display, a tracking thread) cannot be pickled.
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.stopped_by is not None:
            return None if self._running else str(Searcher.FINISHED)
        if len(self._running) >= self._num_slots():
            return None
        for study in self._studies:
            request = self._next_of(study)
            if request is not None:
                return self._begin(trial_id, study, request)
        if not self._running and all(study.is_finished for study in self._studies):
            return str(Searcher.FINISHED)
        return None

    def _begin(self, trial_id: str, study: PairStudy, request: TrialRequest) -> dict[str, Any] | str | None:
        try:
            self._on_start(request)
        except StorageUnavailableError as away:
            self.stopped_by = str(away)
            return self.suggest(trial_id)
        self._running[trial_id] = (study, request)
        return self._make_config(request)

    def _next_of(self, study: PairStudy) -> TrialRequest | None:
        if study.is_finished:
            return None
        key = self._feature_key(study)
        if study.plan.needs_features and key not in self._with_features:
            if key in self._awaiting_features:
                return None
            self._awaiting_features.add(key)
            return study.features_request
        return study.next_request()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if trial_id not in self._running:
            return
        study, request = self._running.pop(trial_id)
        reason = self.failure_reasons.pop(trial_id, "its process died") if error else None
        if self.stopped_by is None and reason is not None and StorageUnavailableError.__name__ in reason:
            self.stopped_by = reason.partition(": ")[2] or reason
        if self.stopped_by is not None:
            return  # Its record stays as the worker could leave it; the next run takes it up from there.
        try:
            self._note(study, request, reason)
        except StorageUnavailableError as away:
            self.stopped_by = str(away)

    def _note(self, study: PairStudy, request: TrialRequest, reason: str | None) -> None:
        record = self._collect(request, reason)
        if request.stage == "features":
            # Also when it failed: the pair's own trials then meet the same error and carry its reason.
            self._with_features.add(self._feature_key(study))
        else:
            study.complete(request, record)
        self._on_end(study, request, record)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: see `__getstate__`."""
