"""State of one pair's search and final stage: which trial comes next, which one won, what is left to do.

No Ray here. A study is rebuilt from the trial records of the ledger: the work left is the plan minus these
records. So an interrupted experiment resumes, and a finished one has nothing left to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from raybench.core.records import HparamValue, Pair, Stage, TrialRecord, TrialRequest
from raybench.metrics import METRICS
from raybench.tuning.search import Search, StudyPlan

__all__ = ["SEARCH_ONLY", "PairStudy", "StudyPlan"]

SEARCH_ONLY = ("epoch",)
"""Choices of a search trial that are not hyperparameters of the final stage."""


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
        self._num_final = sum(record.stage == "final" for record in self.records.values())
        self._finals: list[TrialRequest] | None = None
        self._search: Search | None = None
        """None for a recipe."""
        if self.plan.recipe is None:
            self._search = Search(self.pair, self.plan, dict(self.records))

    def _request(self, stage: Stage, index: int, seed: int, hparams: dict[str, HparamValue]) -> TrialRequest:
        plan = self.plan
        return TrialRequest(
            experiment=plan.experiment,
            pair=self.pair,
            stage=stage,
            index=index,
            hparams=hparams,
            seed=seed,
            max_epochs=plan.max_epochs,
            packed={} if stage == "features" else plan.packed,
        )

    def features_requests(self, num_shards: int = 1) -> list[TrialRequest]:
        """The features stage, one trial per shard. Studies that share features run it once."""
        if num_shards == 1:
            return [self._request("features", 0, 0, {})]
        return [
            self._request("features", i, 0, {"shard": i, "num_shards": num_shards}) for i in range(num_shards)
        ]

    def next_request(self) -> TrialRequest | None:
        """The next trial to run; None while waiting for running trials, and when finished."""
        searched = self._search.next_request() if self._search is not None else None
        request = searched or self._next_final()
        if request is not None:
            self._handed_out.add(request.trial_id)
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
            self._finals = [
                self._request("final", i, seed, hparams) for i, seed in enumerate(self.plan.seeds)
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
        if is_new and self._search is not None:
            self._search.add(record)

    def forget_final(self, trial_id: str) -> None:
        """Drop the record of a final trial that does not use the present winner's hyperparameters."""
        del self.records[trial_id]
        self._num_final -= 1

    @property
    def search_records(self) -> list[TrialRecord]:
        """Ended search trials of the plan, by index."""
        return self._search.records if self._search is not None else []

    def learning_curves(self) -> list[tuple[TrialRecord, list[tuple[int, float]]]]:
        """(Epoch, objective on val, higher is better) of every ended search trial that has any, by index."""
        metric = METRICS[self.plan.objective]
        sign = 1.0 if metric.direction == "max" else -1.0
        curves = [
            (
                record,
                [(p.epoch, sign * p.metrics[metric.name]) for p in record.curve if metric.name in p.metrics],
            )
            for record in self.search_records
        ]
        return [(record, curve) for record, curve in curves if curve]

    @property
    def num_search(self) -> int:
        """Planned search trials; fewer than `num_trials` if a finite space has fewer choices."""
        return self._search.num_planned if self._search is not None else 0

    @property
    def is_converged(self) -> bool:
        """Whether the search has ended, or ends, before its last trial."""
        return self._search is not None and self._search.is_converged

    @property
    def num_planned(self) -> int:
        """Planned trials, search and final stage."""
        return self.num_search + len(self.plan.seeds)

    @property
    def num_done(self) -> int:
        """Trials that have ended."""
        return self._num_final + (self._search.num_ended if self._search is not None else 0)

    @property
    def is_search_over(self) -> bool:
        return self._search is None or self._search.is_over

    @property
    def winner(self) -> TrialRecord | None:
        """The best search trial so far on val."""
        return self._search.winner if self._search is not None else None

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
