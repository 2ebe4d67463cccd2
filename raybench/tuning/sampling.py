"""Samplers that ignore results: choices from a search space, deterministic in the seed, the defaults first.

See `model_sampling` for those that learn from results.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import qmc

from raybench.catalog.grid import GridPoints, grid_choices
from raybench.catalog.search_spaces import (
    Choice,
    Dimension,
    Float,
    Int,
    SearchSpace,
    defaults,
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


def sequence(
    space: SearchSpace,
    sampler: str,
    num_trials: int,
    seed: int,
    *,
    first: Sequence[Hparams] = (),
    grid_points: GridPoints | None = None,
) -> list[Hparams]:
    """Up to `num_trials` distinct choices: defaults, those of `first`, then the sampler's.

    A longer sequence begins with the shorter one, so that trials can be added later. A finite space gives
    at most as many choices as it has.

    Args:
        space: of the pair.
        sampler: `qmc`, `random` or `grid`.
        num_trials: length of the sequence.
        seed: of the sampler; a grid needs none.
        first: choices to begin with, after the defaults.
        grid_points: number of values of each range of a grid.
    """
    chosen = [defaults(space)]
    chosen += [hparams for hparams in first if hparams not in chosen]
    if sampler == "grid":
        chosen += [hparams for hparams in grid_choices(space, grid_points or {}) if hparams not in chosen]
        return chosen[:num_trials]
    if not space:
        return chosen[:num_trials]
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
