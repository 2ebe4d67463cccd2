"""Samplers: hyperparameter choices from a search space. Deterministic in the seed; the defaults come first.

`qmc` and `random` ignore results, so the i-th choice of a pair never depends on which trial finishes first.
`tpe` uses results: with several trials at once its choices depend on the order in which they finish.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy.stats import qmc

from raybench.catalog.search_spaces import (
    Choice,
    Dimension,
    Float,
    Int,
    SearchSpace,
    defaults,
    is_active,
    settle,
)
from raybench.core.records import HparamValue

if TYPE_CHECKING:
    import optuna

Hparams = dict[str, HparamValue]
MAX_REPEATS = 64
"""A finite space counts as exhausted after this many draws in a row without a new choice."""


def from_unit(dimension: Dimension, u: float) -> HparamValue:
    """The dimension's value at the fraction `u` in [0, 1) of its (possibly logarithmic) range.

    >>> from_unit(Float(low=1e-4, high=1e-2, log=True, default=1e-3), 0.5)
    0.001
    >>> from_unit(Choice(options=("a", "b"), default="a"), 0.75)
    'b'
    """
    if isinstance(dimension, Choice):
        return dimension.options[int(u * len(dimension.options))]
    if isinstance(dimension, Int):
        if dimension.log:
            low, high = np.log(dimension.low), np.log(dimension.high + 1)
            return int(min(dimension.high, np.floor(np.exp(low + u * (high - low)) + 1e-9)))
        return dimension.low + int(u * (dimension.high - dimension.low + 1))
    if dimension.log:
        low, high = np.log10(dimension.low), np.log10(dimension.high)
        return float(
            np.format_float_positional(10 ** (low + u * (high - low)), precision=6, fractional=False)
        )
    return round(dimension.low + u * (dimension.high - dimension.low), 6)


def _unit_points(sampler: str, num_dimensions: int, seed: int) -> Iterator[Sequence[float]]:
    """Endless points in [0, 1)^num_dimensions: Owen-scrambled Sobol (`qmc`) or uniform (`random`)."""
    if sampler == "random":
        rng = np.random.default_rng(seed)
        while True:
            yield rng.random(num_dimensions).tolist()
    sobol = qmc.Sobol(num_dimensions, scramble=True, rng=np.random.default_rng(seed))
    while True:
        # Blocks of a power of two keep the sequence balanced; one call of n and n calls of 1 agree.
        yield from sobol.random(16).tolist()


def sequence(space: SearchSpace, sampler: str, num_trials: int, seed: int) -> list[Hparams]:
    """Up to `num_trials` distinct choices: defaults first, then `qmc` or `random` points of the space.

    A longer sequence begins with the shorter one, so that trials can be added later. A finite space gives
    at most as many choices as it has.
    """
    chosen = [defaults(space)]
    if not space:
        return chosen
    repeats = 0
    for point in _unit_points(sampler, len(space), seed):
        if len(chosen) >= num_trials or repeats >= MAX_REPEATS:
            return chosen[:num_trials]
        drawn = {name: from_unit(space[name], u) for name, u in zip(space, point, strict=True)}
        hparams = settle(space, drawn)
        if hparams in chosen:
            repeats += 1
        else:
            chosen.append(hparams)
            repeats = 0
    raise AssertionError("unreachable: the points never end")


class TpeSampler:
    """Optuna's TPE for one pair, by ask and tell. The first choice is the defaults."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        import optuna  # Deferred: a second of import that qmc and random need not pay.

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._distributions = {name: distribution_of(dimension) for name, dimension in space.items()}
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4), direction="maximize"
        )
        self._asked: dict[int, optuna.trial.Trial] = {}
        self._study.enqueue_trial(dict(defaults(space)))

    def ask(self, index: int) -> Hparams:
        """The choice for the trial with this index."""
        trial = self._study.ask()
        self._asked[index] = trial
        hparams = defaults(self._space)
        for name in sorted(self._space, key=lambda name: bool(self._space[name].when)):
            if is_active(self._space[name], hparams):
                hparams[name] = _suggest(trial, name, self._space[name])
        return hparams

    def tell(self, index: int, hparams: Hparams, value: float | None) -> None:
        """Report a trial's objective, None if it failed. An unknown index comes from an earlier run."""
        import optuna

        state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
        if index in self._asked:
            self._study.tell(self._asked.pop(index), value, state)
            return
        active = [name for name, dimension in self._space.items() if is_active(dimension, hparams)]
        self._study.add_trial(
            optuna.trial.create_trial(
                params={name: hparams[name] for name in active},
                distributions={name: self._distributions[name] for name in active},
                value=value,
                state=state,
            )
        )


def _suggest(trial: "optuna.trial.Trial", name: str, dimension: Dimension) -> HparamValue:
    match dimension:
        case Float(low=low, high=high, log=log):
            return trial.suggest_float(name, low, high, log=log)
        case Int(low=low, high=high, log=log):
            return trial.suggest_int(name, low, high, log=log)
        case Choice(options=options):
            return cast(HparamValue, trial.suggest_categorical(name, options))


def distribution_of(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    """Optuna's distribution of a dimension."""
    from optuna import distributions

    match dimension:
        case Float(low=low, high=high, log=log):
            return distributions.FloatDistribution(low, high, log=log)
        case Int(low=low, high=high, log=log):
            return distributions.IntDistribution(low, high, log=log)
        case Choice(options=options):
            return distributions.CategoricalDistribution(options)
    raise TypeError(f"no Optuna distribution for {dimension!r}")
