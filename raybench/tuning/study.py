"""The search of one pair as plain state: which trial comes next, and when the final stage may begin.

No Ray here. A study is rebuilt from the ledger's records alone, which is how an interrupted experiment
continues and how a finished one finds nothing to do: the work left is the plan minus the ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from raybench.catalog.search_spaces import SearchSpace
from raybench.core.records import HparamValue, Pair, TrialRecord, TrialRequest, digest_of
from raybench.tuning.sampling import TpeSampler, sequence

NOT_PASSED_ON = ("epoch",)
"""What a trial chose but the final stage does not take over: it trains to its own last epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What a pair's study is to do; the same for every pair of a protocol."""

    experiment: str
    space: SearchSpace
    objective: str
    """Bare metric name, measured on val; `direction` says which way is better."""
    direction: str
    sampler: str
    num_trials: int
    search_seed: int
    seeds: tuple[int, ...]
    max_epochs: int
    needs_features: bool
    fixed: dict[str, HparamValue] | None = None
    """Hyperparameters of a recipe: no search, only the final stage with these."""


@dataclass
class PairStudy:
    """Search, then final stage, of one pair."""

    pair: Pair
    plan: StudyPlan
    records: dict[str, TrialRecord] = field(default_factory=dict)
    """Ended trials of this pair by trial id."""

    def __post_init__(self) -> None:
        self.records = dict(self.records)
        self._handed_out: set[str] = set()
        self._tpe: TpeSampler | None = None
        seed = int(digest_of([self.pair.backbone, self.pair.task, self.plan.search_seed], 8), 16)
        self._search: list[TrialRequest] = []
        if self.plan.fixed is not None:
            return
        if self.plan.sampler == "tpe":
            self._tpe = TpeSampler(self.plan.space, seed)
            self._replay()
        else:
            choices = sequence(self.plan.space, self.plan.sampler, self.plan.num_trials, seed)
            self._search = [self._search_request(index, hparams) for index, hparams in enumerate(choices)]

    def _replay(self) -> None:
        """Hand TPE what earlier sessions measured, in the order in which it was asked for."""
        past = sorted((r for r in self.records.values() if r.stage == "search"), key=lambda r: r.index)
        for record in past[: self.plan.num_trials]:
            if self._tpe is not None:
                self._tpe.tell(record.index, dict(record.hparams), self.objective_of(record))
            self._search.append(self._search_request(record.index, dict(record.hparams)))

    def _search_request(self, index: int, hparams: dict[str, HparamValue]) -> TrialRequest:
        return TrialRequest(
            experiment=self.plan.experiment,
            pair=self.pair,
            stage="search",
            index=index,
            hparams=hparams,
            seed=self.plan.search_seed,
            max_epochs=self.plan.max_epochs,
        )

    def objective_of(self, record: TrialRecord) -> float | None:
        """The record's objective on val, higher is better; None where it has none (it failed)."""
        value = record.metrics.get(f"val/{self.plan.objective}")
        if value is None or record.status == "failed":
            return None
        return value if self.plan.direction == "max" else -value

    @property
    def features_request(self) -> TrialRequest:
        """The features stage: the same request for every task on one dataset is made once by the caller."""
        return replace(self._search_request(0, {}), stage="features", seed=0)

    def next_request(self) -> TrialRequest | None:
        """The next trial to run, or None while there is nothing to start (waiting, or finished)."""
        request = self._next_search() or self._next_final()
        if request is not None:
            self._handed_out.add(request.trial_id)
        return request

    def _next_search(self) -> TrialRequest | None:
        for request in self._search:
            if self._is_open(request):
                return request
        if self._tpe is None or len(self._search) >= self.plan.num_trials:
            return None
        index = 1 + max((request.index for request in self._search), default=-1)
        self._search.append(self._search_request(index, self._tpe.ask(index)))
        return self._search[-1]

    def _next_final(self) -> TrialRequest | None:
        return next((request for request in self.final_requests() if self._is_open(request)), None)

    def _is_open(self, request: TrialRequest) -> bool:
        return request.trial_id not in self.records and request.trial_id not in self._handed_out

    def final_requests(self) -> list[TrialRequest]:
        """One request per seed with the winner's hyperparameters; empty until the search is over."""
        if self.plan.fixed is not None:
            hparams = dict(self.plan.fixed)
        else:
            winner = self.winner
            if winner is None or not self.is_search_over:
                return []
            passed_on = {key: value for key, value in winner.chosen.items() if key not in NOT_PASSED_ON}
            hparams = {**winner.hparams, **passed_on}
        first = self._search_request(0, hparams)
        return [replace(first, stage="final", index=i, seed=seed) for i, seed in enumerate(self.plan.seeds)]

    def complete(self, request: TrialRequest, record: TrialRecord) -> None:
        """Take note of a trial that ended, whatever its status."""
        self.records[request.trial_id] = record
        if self._tpe is not None and request.stage == "search":
            self._tpe.tell(request.index, dict(request.hparams), self.objective_of(record))

    @property
    def search_records(self) -> list[TrialRecord]:
        return [self.records[r.trial_id] for r in self._search if r.trial_id in self.records]

    @property
    def num_search(self) -> int:
        """Search trials this study will have made in all (a finite space may hold fewer than asked for)."""
        return self.plan.num_trials if self._tpe is not None else len(self._search)

    @property
    def is_search_over(self) -> bool:
        return len(self.search_records) >= self.num_search

    @property
    def winner(self) -> TrialRecord | None:
        """Best search trial so far on val; the earliest of equals, so that ties do not depend on timing."""
        scored = [
            (value, -record.index, record)
            for record in self.search_records
            if (value := self.objective_of(record)) is not None
        ]
        return max(scored, key=lambda entry: entry[:2])[2] if scored else None

    @property
    def failure(self) -> str | None:
        """Why this pair has no result, once that is certain; None otherwise."""
        finals = [self.records[r.trial_id] for r in self.final_requests() if r.trial_id in self.records]
        for record in finals:
            if record.status == "failed":
                return record.reason
        if self.plan.fixed is None and self.is_search_over and self.winner is None:
            reasons: Sequence[str] = [r.reason for r in self.search_records]
            return f"all {len(reasons)} search trials failed; the last: {reasons[-1]}"
        return None

    @property
    def is_finished(self) -> bool:
        finals = self.final_requests()
        is_measured = bool(finals) and all(r.trial_id in self.records for r in finals)
        return is_measured or self.failure is not None
