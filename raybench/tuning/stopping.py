"""Rules that stop poor search trials early, one instance per pair: ASHA, HyperBand and median stopping."""

import bisect
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

REDUCTION_FACTOR = 4
"""eta of successive halving: a quarter of the trials passes each rung (Li et al., MLSys 2020, section 3)."""
MIN_TRIALS = 3
"""Trials that must have reached an epoch before the median stops one there: Ray's default."""


def first_rung(max_epochs: int) -> int:
    """Epoch before which no trial is stopped."""
    return max(1, max_epochs // REDUCTION_FACTOR**2)


def make_rule(early_stopping: str, max_epochs: int) -> FIFOScheduler:
    """The rule of one pair: `asha`, `hyperband` or `median`."""
    if early_stopping == "median":
        return MedianRule(grace_epochs=first_rung(max_epochs))
    if early_stopping == "hyperband":
        return HyperBandRule(max_epochs)
    return _asha(max_epochs, first_rung(max_epochs))


def _asha(max_epochs: int, grace_epochs: int) -> ASHAScheduler:
    return ASHAScheduler(
        time_attr="epoch",
        metric="objective",
        mode="max",
        max_t=max_epochs,
        grace_period=grace_epochs,
        reduction_factor=REDUCTION_FACTOR,
    )


class HyperBandRule(FIFOScheduler):
    """Asynchronous HyperBand: one ASHA per bracket, each with a later first rung, the last without any stop.

    Bracket s has its first rung at max_epochs / eta^s, and trials are shared out as HyperBand does, in
    proportion to n_s = ⌈(s_max + 1) / (s + 1) · eta^s⌉; the bracket of a trial follows from its index alone.
    Ray's HyperBand pauses trials, which occupy slots that other pairs need, and Ray's asynchronous brackets
    are drawn at random without a seed.

    Sources: Li et al., JMLR 18 (185), 2018, algorithm 1; Li et al., MLSys 2020, section 3 (asynchronous).
    """

    def __init__(self, max_epochs: int) -> None:
        super().__init__()
        rungs = [first_rung(max_epochs)]
        while rungs[-1] < max_epochs:
            rungs.append(min(max_epochs, rungs[-1] * REDUCTION_FACTOR))
        s_max = len(rungs) - 1
        self._ashas = [_asha(max_epochs, rung) for rung in rungs]  # From s_max down to 0.
        self._sizes = [-(-(s_max + 1) * REDUCTION_FACTOR**s // (s + 1)) for s in reversed(range(s_max + 1))]
        self._brackets: list[int] = []
        self._counts = [0] * len(self._sizes)

    def bracket(self, index: int) -> int:
        """The bracket of the trial with this index: 0 is the one that stops earliest."""
        while len(self._brackets) <= index:
            shares = [(count + 1) / size for count, size in zip(self._counts, self._sizes, strict=True)]
            self._brackets.append(chosen := shares.index(min(shares)))
            self._counts[chosen] += 1
        return self._brackets[index]

    def _of(self, trial: Any) -> ASHAScheduler:
        return self._ashas[self.bracket(trial.config["request"].index)]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(self._of(trial).on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_remove(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_error(tune_controller, trial)


@dataclass(slots=True)
class _Course:
    """Objective of one trial so far."""

    best: float
    total: float = 0.0
    num_epochs: int = 0
    epoch: int = 0


class MedianRule(FIFOScheduler):
    """Stop a trial whose best objective so far is worse than the median of the others' running means.

    The running mean of a trial at an epoch is the mean of its objectives up to it; those of all other trials
    that reached the epoch count, at least MIN_TRIALS. The means are kept sorted per epoch, so the work per
    result hardly grows with the number of trials; Ray's rule reads all results of all trials again.

    Source: Golovin et al., "Google Vizier", KDD 2017, section 3.2.1.
    """

    def __init__(self, *, grace_epochs: int) -> None:
        super().__init__()
        self._grace_epochs = grace_epochs
        self._courses: dict[str, _Course] = {}
        self._means: dict[int, list[float]] = {}
        """Epoch → running means of the trials that reached it, ascending."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        value, epoch = float(result["objective"]), int(result["epoch"])
        course = self._courses.setdefault(trial.trial_id, _Course(best=value))
        if epoch <= course.epoch:  # A resumed trial repeats epochs.
            return str(TrialScheduler.CONTINUE)
        course.best, course.total = max(course.best, value), course.total + value
        course.epoch, course.num_epochs = epoch, course.num_epochs + 1
        others = self._means.setdefault(epoch, [])
        is_judged = epoch >= self._grace_epochs and len(others) >= MIN_TRIALS
        is_poor = is_judged and course.best < _median(others)
        bisect.insort(others, course.total / course.num_epochs)
        return str(TrialScheduler.STOP if is_poor else TrialScheduler.CONTINUE)


def _median(ascending: list[float]) -> float:
    middle = len(ascending) // 2
    return (ascending[middle] + ascending[-1 - middle]) / 2
