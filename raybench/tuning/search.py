"""Search trials of one pair: which comes next, which one is best, and when the search is over.

Rebuilt from the trial records of the ledger: the trials left are the plan minus these records. The work per
trial does not grow with the number of trials, except for samplers that model the results.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from raybench.catalog.grid import GridPoints
from raybench.catalog.search_spaces import Grid, SearchSpace, contains, num_choices
from raybench.core.records import HparamValue, Pair, TrialRecord, TrialRequest, digest_of
from raybench.metrics import METRICS
from raybench.metrics.preference import Preference, preference, signed_objective
from raybench.spec.experiment import MAX_PARALLEL, Converged
from raybench.tuning.model_sampling import SETTINGS, ModelSampler, PastTrial
from raybench.tuning.sampling import sequence

MODEL_SAMPLERS = tuple(SETTINGS)


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
    grid_points: GridPoints = field(default_factory=dict)
    """Range → number of its values under the sampler `grid`."""
    max_parallel: int = MAX_PARALLEL
    """Trials that run at once under a model sampler."""
    converged: Converged | None = None
    """When the search ends early; None: never."""


class Search:
    """The search trials of one pair."""

    def __init__(self, pair: Pair, plan: StudyPlan, records: Mapping[str, TrialRecord]) -> None:
        """`records` are the pair's ended trials by trial id; failed ones are run again."""
        self._pair = pair
        self._plan = plan
        self._records = records
        self._requests: list[TrialRequest] = []
        """Planned trials; a model sampler adds one at a time."""
        self._position = 0
        """Index in `_requests`: earlier ones have been handed out or had ended before."""
        self._ended: dict[str, TrialRecord] = {}
        self._num_leading = 0
        """How many requests from the first one on have ended, without a gap."""
        self._best: list[float] = []
        """Best objective of the leading trials, after each of them; -inf as long as all have failed."""
        self._running: set[str] = set()
        self.is_converged = False
        """No further trial starts; those that are running still count."""
        self._winner: tuple[Preference, TrialRecord] | None = None
        self._model: ModelSampler | None = None
        self._limit = plan.num_trials
        """Number of trials, unless the search ends early; less if a finite space is exhausted."""
        self._earlier: dict[int, TrialRecord] = {}
        """Ended trials by index, for a model sampler."""
        seed = int(digest_of([pair.backbone, str(pair.task), plan.search_seed], 8), 16)
        if plan.sampler in MODEL_SAMPLERS:
            self._begin_model(seed)
        else:
            self._requests = self._with_earlier(seed)
            self._limit = len(self._requests)
            ended = (records.get(request.trial_id) for request in self._requests)
            for record in [record for record in ended if record is not None]:
                self.add(record)

    def _begin_model(self, seed: int) -> None:
        self._limit = min(self._limit, num_choices(self._plan.space) or self._limit)
        self._model = ModelSampler(self._plan.sampler, self._plan.space, seed)
        for record in self._usable_records():
            if record.index < self._limit and record.index not in self._earlier:
                self._earlier[record.index] = record
                self.add(record)
        while (earlier := self._earlier.get(len(self._requests))) is not None:
            self._append(self._request_of(earlier))

    def _with_earlier(self, seed: int) -> list[TrialRequest]:
        """The plan's search trials: the sampler's, of which trials of an earlier space replace the last ones.

        Such a trial counts if its hyperparameters lie in the present space, and it is not run again.
        """
        plan, records = self._plan, self._usable_records()
        longest = max([plan.num_trials, *(record.index + 1 for record in records)])
        choices = sequence(plan.space, plan.sampler, longest, seed, grid_points=plan.grid_points)
        drawn = [self.request(index, hparams) for index, hparams in enumerate(choices)]
        ids = {request.trial_id for request in drawn}
        earlier = [self._request_of(record) for record in records if record.trial_id not in ids]
        drawn = drawn[: plan.num_trials]
        if not earlier:
            return drawn
        done = [request for request in drawn if request.trial_id in self._records]
        open_ = [request for request in drawn if request.trial_id not in self._records]
        kept = earlier[: plan.num_trials - len(done)]
        return [*kept, *done, *open_[: plan.num_trials - len(done) - len(kept)]]

    def _usable_records(self) -> list[TrialRecord]:
        """Ended search trials in the present space and with the present grid and epochs, by index."""
        usable = [
            record
            for record in self._records.values()
            if record.stage == "search"
            and contains(self._plan.space, record.hparams)
            and self._request_of(record).trial_id == record.trial_id
        ]
        return sorted(usable, key=lambda record: (record.index, record.trial_id))

    def _request_of(self, record: TrialRecord) -> TrialRequest:
        """The request with the record's hyperparameters and the plan's grid, epochs and seed."""
        return self.request(record.index, dict(record.hparams))

    def request(self, index: int, hparams: dict[str, HparamValue]) -> TrialRequest:
        """A search trial of this pair."""
        return TrialRequest(
            experiment=self._plan.experiment,
            pair=self._pair,
            stage="search",
            index=index,
            hparams=hparams,
            seed=self._plan.search_seed,
            max_epochs=self._plan.max_epochs,
            packed=self._plan.packed,
        )

    def next_request(self) -> TrialRequest | None:
        """The next trial to run; None while waiting for running trials, and when there is none left."""
        while not self.is_converged and (self._position < len(self._requests) or self._propose()):
            request = self._requests[self._position]
            self._position += 1
            if request.trial_id not in self._ended:
                self._running.add(request.trial_id)
                return request
        return None

    def _propose(self) -> bool:
        """Let the model add the next request; False if it must wait for results, or nothing is left."""
        index = len(self._requests)
        if self._model is None or index >= self._limit:
            return False
        if (earlier := self._earlier.get(index)) is not None:
            self._append(self._request_of(earlier))
            return True
        num_visible = max(0, index - self._plan.max_parallel + 1)
        if self._num_leading < num_visible:
            return False
        hparams = self._model.ask([self._past(r, i < num_visible) for i, r in enumerate(self._requests)])
        if hparams is None:
            self._limit = index
            return False
        self._append(self.request(index, hparams))
        return True

    def _append(self, request: TrialRequest) -> None:
        self._requests.append(request)
        self._advance()

    def _past(self, request: TrialRequest, is_visible: bool) -> PastTrial:
        value = self.objective_of(self._ended[request.trial_id]) if is_visible else None
        return PastTrial(hparams=dict(request.hparams), value=value, is_running=not is_visible)

    def objective_of(self, record: TrialRecord) -> float | None:
        """The record's objective on val, negated where lower is better; None if the trial failed."""
        return signed_objective(record, METRICS[self._plan.objective])

    def add(self, record: TrialRecord) -> None:
        """Count a trial of this search that has ended, whatever its status."""
        if record.trial_id in self._ended:
            return
        self._ended[record.trial_id] = record
        self._running.discard(record.trial_id)
        key = preference(record, METRICS[self._plan.objective])
        if key is not None and (self._winner is None or key > self._winner[0]):
            self._winner = (key, record)
        self._advance()

    def _advance(self) -> None:
        while self._num_leading < len(self._requests):
            record = self._ended.get(self._requests[self._num_leading].trial_id)
            if record is None:
                return
            self._num_leading += 1
            self._check_convergence(record)

    def _check_convergence(self, record: TrialRecord) -> None:
        """Compare the best of the leading trials, of which the record is the last, with an earlier one."""
        value, rule = self.objective_of(record), self._plan.converged
        before = self._best[-1] if self._best else -math.inf
        self._best.append(before if value is None else max(before, value))
        if rule is None or len(self._best) <= rule.trials:
            return
        earlier = self._best[-1 - rule.trials]
        if earlier > -math.inf and self._best[-1] - earlier <= rule.tolerance:
            self.is_converged = True

    @property
    def records(self) -> list[TrialRecord]:
        """Ended trials, by index."""
        return sorted(self._ended.values(), key=lambda record: (record.index, record.trial_id))

    @property
    def num_ended(self) -> int:
        return len(self._ended)

    @property
    def num_planned(self) -> int:
        """Planned trials: fewer than `num_trials` in a small finite space, or after convergence."""
        return self.num_ended + len(self._running) if self.is_converged else self._limit

    @property
    def is_over(self) -> bool:
        return self.num_ended >= self.num_planned

    @property
    def winner(self) -> TrialRecord | None:
        """The best trial so far on val."""
        return self._winner[1] if self._winner is not None else None
