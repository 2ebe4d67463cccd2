"""Grid search: every combination of a few values per hyperparameter, in a stated order."""

import itertools
import math
from collections.abc import Mapping

from raybench.catalog.search_spaces import Choice, Dimension, SearchSpace, defaults, settle
from raybench.core.records import HparamValue

GridPoints = Mapping[str, int]
"""Hyperparameter that is a range → number of its values in a grid, both ends included."""
MAX_GRID = 100_000
"""Combinations that are counted one by one; a larger grid is only told to be larger."""


def grid_values(dimension: Dimension, num: int | None) -> list[HparamValue]:
    """Values of one dimension: all options, or `num` values at equal distances (of logarithms if `log`).

    >>> from raybench.catalog.search_spaces import Float
    >>> grid_values(Float(low=1e-4, high=1e-2, log=True, default=1e-3), 3)
    [0.0001, 0.001, 0.01]

    Raises:
        ValueError: if a range has no number of values.
    """
    if isinstance(dimension, Choice):
        return list(dimension.options)
    if dimension.low == dimension.high:
        return [dimension.low]
    if num is None:
        raise ValueError("a range needs a number of values")
    low, high = (math.log(end) if dimension.log else float(end) for end in (dimension.low, dimension.high))
    steps = [low + (high - low) * i / (num - 1) for i in range(num)]
    exact = [math.exp(step) if dimension.log else step for step in steps]
    inner = [float(f"{value:.6g}") for value in exact[1:-1]]  # Ends stay as the space has them.
    if isinstance(dimension.low, int) and isinstance(dimension.high, int) and type(dimension.default) is int:
        return sorted({dimension.low, *(round(value) for value in inner), dimension.high})
    return [dimension.low, *inner, dimension.high]


def grid_choices(space: SearchSpace, points: GridPoints) -> list[dict[str, HparamValue]]:
    """The distinct choices of a grid: defaults first, then the grid, its last hyperparameter fastest.

    The defaults are a choice of their own if they are no point of the grid. Choices that differ only in a
    hyperparameter that is not searched together with the others are one.

    Raises:
        ValueError: if a range has no number of values, or the grid has more than MAX_GRID combinations.
    """
    values = [grid_values(dimension, points.get(name)) for name, dimension in space.items()]
    if (size := math.prod(map(len, values))) > MAX_GRID:
        raise ValueError(f"the grid has {size:,} combinations")
    chosen = {tuple((first := defaults(space)).items()): first}
    for combination in itertools.product(*values):
        settled = settle(space, dict(zip(space, combination, strict=True)))
        chosen.setdefault(tuple(settled.items()), settled)
    return list(chosen.values())
