"""State of one pair's search and final stage: which trial comes next, which one won, what is left to do.

No Ray here. A study is rebuilt from the trial records of the ledger: the work left is the plan minus these
records. So an interrupted experiment resumes, and a finished one has nothing left to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from raybench.catalog.search_spaces import Grid, SearchSpace, contains
from raybench.core.records import HparamValue, Pair, TrialRecord, TrialRequest, digest_of
from raybench.metrics import METRICS
from raybench.metrics.preference import Preference, preference, signed_objective
from raybench.tuning.sampling import TpeSampler, sequence

SEARCH_ONLY = ("epoch",)
"""Choices of a search trial that are not hyperparameters of the final stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """Search space, trials, seeds and epochs of one pair's study."""

    experiment: str
    space: SearchSpace
    objective: str
    """Bare metric name, measured on val."""
    sampler: str
    num_trials: int
    search_seed: int
    seeds: tuple[int, ...]
    max_epochs: int
    needs_features: bool
    packed: Grid = field(default_factory=dict)
    """Packed hyperparameters to which the spec gives other values for this backbone."""
    recipe: dict[str, HparamValue] | None = None
    """Hyperparameters that the spec fixes: no search, only the final stage with these."""


@dataclass(eq=False)
class PairStudy:
    """Search and final stage of one pair. The work per trial does not grow with the number of trials."""

    pair: Pair
    plan: StudyPlan
    records: dict[str, TrialRecord] = field(default_factory=dict)
    """Ended trials of this pair by trial id."""

    def __post_init__(self) -> None:
        self.records = dict(self.records)
        self._handed_out: set[str] = set()
        self._tpe: TpeSampler | None = None
        self._search: list[TrialRequest] = []
        self._position = 0
        """Index in `_search`: earlier requests have been handed out or have a record."""
        self._search_ids: set[str] = set()
        self._num_searched = 0
        self._num_final = sum(record.stage == "final" for record in self.records.values())
        self._winner: tuple[Preference, TrialRecord] | None = None
        self._finals: list[TrialRequest] | None = None
        if self.plan.recipe is None:
            self._begin_search()

    def _begin_search(self) -> None:
        plan = self.plan
        seed = int(digest_of([self.pair.backbone, str(self.pair.task), plan.search_seed], 8), 16)
        if plan.sampler == "tpe":
            self._tpe = TpeSampler(plan.space, seed)
            self._replay(self._tpe)
        else:
            for request in self._with_earlier(seed):
                self._add_search(request)
        for request in self._search:
            if (record := self.records.get(request.trial_id)) is not None:
                self._count_search(record)

    def _with_earlier(self, seed: int) -> list[TrialRequest]:
        """The plan's search trials: the sampler's, of which trials of an earlier space replace the last ones.

        Such a trial counts if its hyperparameters lie in the present space, and it is not run again.
        """
        plan, records = self.plan, self._usable_records()
        longest = max([plan.num_trials, *(record.index + 1 for record in records)])
        drawn = [
            self._search_request(index, hparams)
            for index, hparams in enumerate(sequence(plan.space, plan.sampler, longest, seed))
        ]
        ids = {request.trial_id for request in drawn}
        earlier = [self._request_of(record) for record in records if record.trial_id not in ids]
        drawn = drawn[: plan.num_trials]
        if not earlier:
            return drawn
        done = [request for request in drawn if request.trial_id in self.records]
        open_ = [request for request in drawn if request.trial_id not in self.records]
        kept = earlier[: plan.num_trials - len(done)]
        return [*kept, *done, *open_[: plan.num_trials - len(done) - len(kept)]]

    def _usable_records(self) -> list[TrialRecord]:
        """Ended search trials in the present space and with the present grid and epochs, by index."""
        usable = [
            record
            for record in self.records.values()
            if record.stage == "search"
            and contains(self.plan.space, record.hparams)
            and self._request_of(record).trial_id == record.trial_id
        ]
        return sorted(usable, key=lambda record: (record.index, record.trial_id))

    def _request_of(self, record: TrialRecord) -> TrialRequest:
        """The request with the record's hyperparameters and the plan's grid, epochs and seed."""
        return self._search_request(record.index, dict(record.hparams))

    def _replay(self, tpe: TpeSampler) -> None:
        """Report the trials of earlier runs to TPE, in the order of their indices."""
        for record in self._usable_records()[: self.plan.num_trials]:
            tpe.tell(record.index, dict(record.hparams), self.objective_of(record))
            self._add_search(self._search_request(record.index, dict(record.hparams)))

    def _add_search(self, request: TrialRequest) -> None:
        self._search.append(request)
        self._search_ids.add(request.trial_id)

    def _search_request(self, index: int, hparams: dict[str, HparamValue]) -> TrialRequest:
        return TrialRequest(
            experiment=self.plan.experiment,
            pair=self.pair,
            stage="search",
            index=index,
            hparams=hparams,
            seed=self.plan.search_seed,
            max_epochs=self.plan.max_epochs,
            packed=self.plan.packed,
        )

    def objective_of(self, record: TrialRecord) -> float | None:
        """The record's objective on val, negated where lower is better; None if the trial failed."""
        return signed_objective(record, METRICS[self.plan.objective])

    @property
    def features_request(self) -> TrialRequest:
        """The features stage. Tasks on one dataset give the same request; the caller runs it once."""
        return replace(self._search_request(0, {}), stage="features", seed=0, packed={})

    def next_request(self) -> TrialRequest | None:
        """The next trial to run; None while waiting for running trials, and when finished."""
        request = self._next_search() or self._next_final()
        if request is not None:
            self._handed_out.add(request.trial_id)
        return request

    def _next_search(self) -> TrialRequest | None:
        while self._position < len(self._search):
            request = self._search[self._position]
            self._position += 1
            if self._is_open(request):
                return request
        if self._tpe is None or len(self._search) >= self.plan.num_trials:
            return None
        index = 1 + max((request.index for request in self._search), default=-1)
        request = self._search_request(index, self._tpe.ask(index))
        self._add_search(request)
        self._position = len(self._search)
        return request

    def _next_final(self) -> TrialRequest | None:
        return next((request for request in self.final_requests() if self._is_open(request)), None)

    def _is_open(self, request: TrialRequest) -> bool:
        return request.trial_id not in self.records and request.trial_id not in self._handed_out

    def final_requests(self) -> list[TrialRequest]:
        """One request per seed with the winner's hyperparameters; empty until the search is over."""
        if self._finals is None:
            hparams = self._final_hparams()
            if hparams is None:
                return []
            first = self._search_request(0, hparams)
            self._finals = [
                replace(first, stage="final", index=i, seed=seed) for i, seed in enumerate(self.plan.seeds)
            ]
        return self._finals

    def _final_hparams(self) -> dict[str, HparamValue] | None:
        if self.plan.recipe is not None:
            return dict(self.plan.recipe)
        winner = self.winner
        if winner is None or not self.is_search_over:
            return None
        chosen = {key: value for key, value in winner.chosen.items() if key not in SEARCH_ONLY}
        return {**winner.hparams, **chosen}

    def complete(self, request: TrialRequest, record: TrialRecord) -> None:
        """Add the record of a trial that has ended, whatever its status."""
        is_new = request.trial_id not in self.records
        self.records[request.trial_id] = record
        if request.stage != "search":
            self._num_final += is_new and request.stage == "final"
            return
        if is_new and request.trial_id in self._search_ids:
            self._count_search(record)
        if self._tpe is not None:
            self._tpe.tell(request.index, dict(request.hparams), self.objective_of(record))

    def forget_final(self, trial_id: str) -> None:
        """Drop the record of a final trial that does not use the present winner's hyperparameters."""
        del self.records[trial_id]
        self._num_final -= 1

    def _count_search(self, record: TrialRecord) -> None:
        self._num_searched += 1
        key = preference(record, METRICS[self.plan.objective])
        if key is not None and (self._winner is None or key > self._winner[0]):
            self._winner = (key, record)

    @property
    def search_records(self) -> list[TrialRecord]:
        """Ended search trials of the plan, by index."""
        return [self.records[r.trial_id] for r in self._search if r.trial_id in self.records]

    @property
    def num_search(self) -> int:
        """Planned search trials; fewer than `num_trials` if a finite space has fewer choices."""
        return self.plan.num_trials if self._tpe is not None else len(self._search)

    @property
    def num_planned(self) -> int:
        """Planned trials, search and final stage."""
        return self.num_search + len(self.plan.seeds)

    @property
    def num_done(self) -> int:
        """Trials that have ended."""
        return self._num_searched + self._num_final

    @property
    def is_search_over(self) -> bool:
        return self._num_searched >= self.num_search

    @property
    def winner(self) -> TrialRecord | None:
        """The best search trial so far on val."""
        return self._winner[1] if self._winner is not None else None

    @property
    def failure(self) -> str | None:
        """Why this pair has failed; None if it has not, or not yet."""
        finals = [self.records[r.trial_id] for r in self.final_requests() if r.trial_id in self.records]
        for record in finals:
            if record.status == "failed":
                return record.reason
        if self.plan.recipe is None and self.is_search_over and self.winner is None:
            reasons: Sequence[str] = [r.reason for r in self.search_records]
            return f"all {len(reasons)} search trials failed; the last: {reasons[-1]}"
        return None

    @property
    def is_finished(self) -> bool:
        finals = self.final_requests()
        is_measured = bool(finals) and all(r.trial_id in self.records for r in finals)
        return is_measured or self.failure is not None
