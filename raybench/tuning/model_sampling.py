"""Samplers that learn from results: Optuna's TPE and Gaussian process, without any state between two trials.

Trial i depends on the seed, i, the hyperparameters of the trials before it, and the results of trials
0 … i − `max_parallel`. The last `max_parallel` − 1 trials count as running, even if they have ended: TPE
takes them as poor (constant liar), the Gaussian process integrates over their results (qLogEI). So the order
in which trials finish changes nothing, and an interrupted search continues with the same trials.

Sources: Bergstra et al., NeurIPS 2011 (TPE); Snoek et al., NeurIPS 2012 (Gaussian process); Ament et al.,
NeurIPS 2023 (log EI). Both are Optuna's.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from raybench.catalog.search_spaces import Choice, Dimension, Float, Int, SearchSpace, defaults, is_active
from raybench.core.records import HparamValue, digest_of
from raybench.tuning.sampling import Hparams, distribution_of, sequence

if TYPE_CHECKING:
    import optuna

NUM_STARTUP = 4
"""Trials before the first that is proposed by a model: the defaults and Sobol points."""
MIN_RESULTS = 2
"""With fewer results the next Sobol point is taken: one point shows no direction."""
MAX_REPEATS = 8
"""After this many proposals in a row that repeat an earlier trial, the next Sobol point is taken."""
SETTINGS: dict[str, dict[str, Any]] = {
    # Optuna 5 changed the defaults of `multivariate` and `constant_liar`.
    "tpe": {"multivariate": True, "group": False, "constant_liar": True, "n_startup_trials": 0},
    "gp": {"deterministic_objective": False, "n_startup_trials": 0},
}
"""Sampler → the arguments of Optuna's class, none of which is left to Optuna's defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrial:
    """An earlier trial of the study, as a sampler sees it."""

    hparams: Hparams
    value: float | None = None
    """Objective, higher is better; None if it failed or counts as running."""
    is_running: bool = False


class ModelSampler:
    """`tpe` or `gp` for one pair; the first trials are the defaults and Sobol points."""

    def __init__(self, sampler: str, space: SearchSpace, seed: int, *, first: Sequence[Hparams] = ()) -> None:
        """`first` are the choices after the defaults: a warm start."""
        self._sampler = sampler
        self._space = space
        self._seed = seed
        self._first = list(first)
        self._distributions = {name: distribution_of(dimension) for name, dimension in space.items()}

    def ask(self, history: Sequence[PastTrial]) -> Hparams | None:
        """The hyperparameters of trial i from those of trials 0 … i − 1; None if the space is exhausted."""
        num_results = sum(trial.value is not None for trial in history)
        tried = [trial.hparams for trial in history]
        if len(history) >= NUM_STARTUP + len(self._first) and num_results >= MIN_RESULTS:
            for attempt in range(MAX_REPEATS):
                if (proposed := self._propose(history, attempt)) not in tried:
                    return proposed
        points = sequence(self._space, "qmc", len(tried) + 1, self._seed, first=self._first)
        return next((point for point in points if point not in tried), None)

    def _propose(self, history: Sequence[PastTrial], attempt: int) -> Hparams:
        hparams = defaults(self._space)
        with _quiet_single_thread(self._sampler):
            trial = self._study(history, attempt).ask()
            for name in sorted(self._space, key=lambda name: bool(self._space[name].when)):
                if is_active(self._space[name], hparams):
                    hparams[name] = _suggest(trial, name, self._space[name])
        return hparams

    def _study(self, history: Sequence[PastTrial], attempt: int) -> "optuna.Study":
        import optuna  # Deferred: a second of import that qmc and random need not pay.

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = int(digest_of([self._seed, len(history), attempt], 8), 16)
        samplers = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}
        sampler = samplers[self._sampler](seed=seed, **SETTINGS[self._sampler])
        study = optuna.create_study(sampler=sampler, direction="maximize")
        study.add_trials([self._frozen(trial) for trial in history])
        return study

    def _frozen(self, trial: PastTrial) -> "optuna.trial.FrozenTrial":
        from optuna.trial import TrialState, create_trial

        state = TrialState.FAIL if trial.value is None else TrialState.COMPLETE
        active = [name for name, d in self._space.items() if is_active(d, trial.hparams)]
        return create_trial(
            params={name: trial.hparams[name] for name in active},
            distributions={name: self._distributions[name] for name in active},
            value=trial.value,
            state=TrialState.RUNNING if trial.is_running else state,
        )


def _suggest(trial: "optuna.trial.Trial", name: str, dimension: Dimension) -> HparamValue:
    match dimension:
        case Float(low=low, high=high, log=log):
            return trial.suggest_float(name, low, high, log=log)
        case Int(low=low, high=high, log=log):
            return trial.suggest_int(name, low, high, log=log)
        case Choice(options=options):
            return cast(HparamValue, trial.suggest_categorical(name, options))


@contextlib.contextmanager
def _quiet_single_thread(sampler: str) -> Iterator[None]:
    """Hide Optuna's warnings; let torch, which fits Gaussian processes, add up in one fixed order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if sampler != "gp":
            yield
            return
        import torch  # Deferred: only Gaussian processes need it in the driver.

        num_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(num_threads)
