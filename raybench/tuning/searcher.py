"""One Tune `Searcher` for the whole experiment: it takes the next trial from the studies of all pairs.

Per pair the order is features (once per backbone and dataset, a trial per shard), search, final stage; pairs
need not wait for each other. If a study has no trial to start yet, the searcher asks the next study, and this
one again when one of its trials, or of its features stage, has ended. So the work per trial does not grow
with the number of pairs. Tune calls `suggest` and `on_trial_complete` from one thread.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ray.tune.search import Searcher

from raybench.core.errors import StorageUnavailableError
from raybench.core.records import TrialRequest
from raybench.tuning.job import TrialListener
from raybench.tuning.study import PairStudy

FeatureKey = tuple[str, str]
"""(backbone, dataset): studies that share it share one features stage."""


@dataclass
class _FeaturesStage:
    """Shards of one backbone and dataset that have not ended."""

    waiting: deque[TrialRequest]
    num_left: int


class ExperimentSearcher(Searcher):
    """`suggest` gives the config of the next trial, None to make Tune wait, or FINISHED at the end."""

    def __init__(
        self,
        studies: list[PairStudy],
        listener: TrialListener,
        *,
        make_config: Callable[[TrialRequest], dict[str, Any]],
        num_slots: Callable[[], int],
        num_shards: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`num_slots` gives the number of trials that may run at once now, `num_shards` those of a dataset's
        features stage (one for other datasets)."""
        super().__init__()  # No metric: studies read trial records, and a feature trial has no objective.
        self._studies = [study for study in studies if not study.is_finished]
        self._unfinished = set(range(len(self._studies)))
        """Positions in `_studies`."""
        self._ready = list(range(len(self._studies)))
        """Heap of the positions of studies that may have a trial to start."""
        self._idle: set[int] = set()
        """Positions that are not in `_ready`: these studies wait for running trials."""
        self._sharing: defaultdict[FeatureKey, list[int]] = defaultdict(list)
        """Positions of the studies that wait for the same features stage."""
        for position, study in enumerate(self._studies):
            if study.plan.needs_features:
                self._sharing[_feature_key(study)].append(position)
        self._listener = listener
        self._make_config = make_config
        self._num_slots = num_slots
        self._num_shards = num_shards
        self._features: dict[FeatureKey, _FeaturesStage] = {}
        self._running: dict[str, tuple[int, TrialRequest]] = {}
        """Tune's trial id → position of its study, and the trial."""
        self.failure_reasons: dict[str, str] = {}
        """Tune's trial id → why its process died; the scheduler, which learns of it first, fills it."""
        self.notes: dict[str, list[str]] = {}
        """Tune's trial id → sentences for the user; filled by the scheduler, which is given the results."""
        self.stopped_by: str | None = None
        """Why no more trials start: the storage cannot be written. Running trials may end."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher in order to restore it. raybench resumes from the ledger instead, and the
        # listener (a progress display, a tracking thread) cannot be pickled.
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.stopped_by is not None:
            return None if self._running else str(Searcher.FINISHED)
        if len(self._running) >= self._num_slots():
            return None
        while self._ready:
            position = self._ready[0]
            request = self._next_of(self._studies[position]) if position in self._unfinished else None
            if request is not None:
                return self._start(trial_id, position, request)
            self._idle.add(heapq.heappop(self._ready))
        return None if self._running or self._unfinished else str(Searcher.FINISHED)

    def _start(self, trial_id: str, position: int, request: TrialRequest) -> dict[str, Any] | str | None:
        try:
            self._listener.on_start(request)
        except StorageUnavailableError as error:
            self.stopped_by = str(error)
            return self.suggest(trial_id)
        self._running[trial_id] = (position, request)
        return self._make_config(request)

    def _next_of(self, study: PairStudy) -> TrialRequest | None:
        if study.plan.needs_features:
            stage = self._features_of(study)
            if stage.num_left:
                return stage.waiting.popleft() if stage.waiting else None
        return study.next_request()

    def _features_of(self, study: PairStudy) -> _FeaturesStage:
        key = _feature_key(study)
        if key not in self._features:
            requests = study.features_requests(self._num_shards.get(study.pair.task.dataset, 1))
            self._features[key] = _FeaturesStage(deque(requests), len(requests))
        return self._features[key]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if trial_id not in self._running:
            return
        position, request = self._running.pop(trial_id)
        for sentence in self.notes.pop(trial_id, ()):
            self._listener.note(sentence)
        reason = self.failure_reasons.pop(trial_id, "its process died") if error else None
        if self.stopped_by is None and reason is not None and StorageUnavailableError.__name__ in reason:
            self.stopped_by = reason.partition(": ")[2] or reason
        if self.stopped_by is not None:
            return  # The record stays as the worker left it; the next run resumes from it.
        try:
            self._record_end(position, request, reason)
        except StorageUnavailableError as unavailable:
            self.stopped_by = str(unavailable)

    def _record_end(self, position: int, request: TrialRequest, reason: str | None) -> None:
        study = self._studies[position]
        record = self._listener.collect(request, reason)
        if request.stage == "features":
            # Also if it failed: the pair's own trials then fail with the same error and record it.
            self._features_of(study).num_left -= 1
            self._wake(self._sharing[_feature_key(study)])
        else:
            study.complete(request, record)
            if study.is_finished:
                self._unfinished.discard(position)
            self._wake([position])
        self._listener.on_end(study, request, record)

    def _wake(self, positions: Iterable[int]) -> None:
        """Ask these studies for trials again."""
        for position in positions:
            if position in self._idle:
                self._idle.remove(position)
                heapq.heappush(self._ready, position)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: see `__getstate__`."""


def _feature_key(study: PairStudy) -> FeatureKey:
    return study.pair.backbone, study.pair.task.dataset
