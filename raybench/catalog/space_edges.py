"""Values at the end of a search space or packed grid: better ones may lie beyond, and what to try next."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from raybench.catalog.search_spaces import Choice, Dimension, Float, Grid, Int, Limits, SearchSpace
from raybench.core.records import Hparams, HparamValue

End = Literal["low", "high"]
EDGE_TOLERANCE = 0.01
"""A value lies on an edge if it is within 1 % of the dimension's width, in its own scale, of an end."""
_NATURAL_ENDS: Mapping[str, tuple[float, ...]] = {
    "weight_decay": (0.0,),
    "k": (1,),
    "drop_path": (0.0,),
    "layer_decay": (1.0,),
}
"""Ends beyond which there is no value: no weight decay, nearest neighbour only, one rate for all layers."""


def edges(space: SearchSpace, hparams: Hparams) -> dict[str, End]:
    """Numeric dimensions whose value lies on an end of the space, so that the best may lie beyond it.

    Ends with nothing beyond (weight decay 0, layer decay 1, k = 1) are not edges. Hyperparameters that are
    not in the space are ignored.

    >>> from raybench.catalog.search_spaces import FINETUNE
    >>> edges(FINETUNE, {"lr": 3e-3, "weight_decay": 0.05, "drop_path": 0.0})
    {'lr': 'high'}
    """
    on_edge: dict[str, End] = {}
    for name, dimension in space.items():
        if isinstance(dimension, Choice) or name not in hparams or dimension.low == dimension.high:
            continue
        end = _end_of(dimension, float(hparams[name]))
        if end and getattr(dimension, end) not in _NATURAL_ENDS.get(name, ()):
            on_edge[name] = end
    return on_edge


def packed_edges(grid: Grid, chosen: Hparams) -> dict[str, End]:
    """Dimensions of a packed grid whose chosen value is the smallest or largest number; see `edges`.

    >>> from raybench.catalog.search_spaces import KNN_GRIDS
    >>> packed_edges(KNN_GRIDS[None], {"k": 200, "weighting": "uniform"})
    {'k': 'high'}
    """
    space = {name: _span(values) for name, values in grid.items() if name in chosen}
    numeric = {name: value for name, value in chosen.items() if not isinstance(value, str)}
    return edges({name: span for name, span in space.items() if span and name in numeric}, numeric)


def extension(dimension: Dimension, end: End) -> tuple[float, float]:
    """The range to try next when the best value lies on `end`: a decade further, or half as wide again.

    >>> from raybench.catalog.search_spaces import FINETUNE
    >>> extension(FINETUNE["lr"], "high")
    (1e-05, 0.03)

    Raises:
        ValueError: for a `Choice`, which has no ends.
    """
    if isinstance(dimension, Choice):
        raise ValueError("a Choice has options, not ends, and cannot be extended.")
    low, high = float(dimension.low), float(dimension.high)
    if dimension.log:
        return (float(f"{low / 10:.4g}"), high) if end == "low" else (low, float(f"{high * 10:.4g}"))
    half = (high - low) / 2
    return (low - half, high) if end == "low" else (low, high + half)


def next_values(name: str, end: End, space: SearchSpace, grid: Grid, limits: Limits) -> Any:
    """What a spec's `spaces` would say to search further than `end`; None if nothing lies beyond.

    Epochs end at the experiment's `max_epochs`, so nothing lies beyond their high end.

    >>> from raybench.catalog.finetuning import FINETUNE_LIMITS
    >>> from raybench.catalog.search_spaces import FINETUNE
    >>> next_values("lr", "high", FINETUNE, {}, FINETUNE_LIMITS)
    {'low': 1e-05, 'high': 0.03, 'log': True}
    """
    smallest, largest = limits.get(name, (-math.inf, math.inf))
    if name in grid:
        values = extended_values(grid[name], end)
        wider = [value for value in values if isinstance(value, str) or smallest <= value <= largest]
        return wider if len(wider) > len(grid[name]) else None
    if name not in space or isinstance(dimension := space[name], Choice):
        return None
    if name == "epochs":
        largest = dimension.high
    low, high = extension(dimension, end)
    low, high = max(low, smallest), min(high, largest)
    if (low, high) == (dimension.low, dimension.high):
        return None
    if isinstance(dimension, Int):
        low, high = math.floor(low), math.ceil(high)
    return {"low": low, "high": high, **({"log": True} if dimension.log else {})}


def extended_values(values: Sequence[HparamValue], end: End) -> list[HparamValue]:
    """A packed grid's values with two more beyond `end`, each as far from the last as that from the next one.

    >>> extended_values((0.0, 1e-5, 1e-4, 1e-3), "high")
    [0.0, 1e-05, 0.0001, 0.001, 0.01, 0.1]
    >>> extended_values((1, 2, 5), "high")
    [1, 2, 5, 12, 31]
    """
    numbers = sorted(value for value in values if not isinstance(value, str))
    positive = [float(value) for value in numbers if value > 0]
    if len(positive) < 2:
        return list(values)
    ratio = positive[1] / positive[0] if end == "low" else positive[-1] / positive[-2]
    start, factor = (positive[0], 1 / ratio) if end == "low" else (positive[-1], ratio)
    further: list[float] = [float(f"{start * factor**step:.4g}") for step in (1, 2)]
    if all(isinstance(value, int) for value in numbers):
        further = [int(value) for value in further]
    fresh = [value for value in further if value > 0 and value not in values]
    return [*sorted(fresh), *values] if end == "low" else [*values, *fresh]


def _end_of(dimension: Float | Int, value: float) -> End | None:
    """The end that `value` lies on, in the dimension's own scale."""
    scale = math.log if dimension.log else float
    low, high, position = scale(dimension.low), scale(dimension.high), scale(value)
    tolerance = EDGE_TOLERANCE * (high - low)
    if position <= low + tolerance:
        return "low"
    return "high" if position >= high - tolerance else None


def _span(values: tuple[HparamValue, ...]) -> Float | None:
    """Range of the numbers among the values; None if there are none."""
    numbers = sorted(float(value) for value in values if not isinstance(value, str))
    if not numbers:
        return None
    return Float(low=numbers[0], high=numbers[-1], log=numbers[0] > 0, default=numbers[0])
