"""Search spaces: hyperparameters that Tune varies between trials, and grids that one trial trains at once.

A sampler draws from the dimensions of a `SearchSpace`. A packed grid is not drawn from: one trial trains all
its cells in a single pass over the features and chooses among them on val.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from raybench.core.records import Hparams, HparamValue

End = Literal["low", "high"]
EDGE_TOLERANCE = 0.01
"""A value lies on an edge if it is within 1 % of the dimension's width, in its own scale, of an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Float:
    """A real number in [low, high], drawn uniformly or, with `log`, log-uniformly."""

    low: float
    high: float
    log: bool = False
    default: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Int:
    """A whole number in [low, high], both ends included."""

    low: int
    high: int
    log: bool = False
    default: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few unordered options."""

    options: tuple[HparamValue, ...]
    default: HparamValue


Dimension = Float | Int | Choice
SearchSpace = Mapping[str, Dimension]
Grid = Mapping[str, tuple[HparamValue, ...]]
"""Packed hyperparameter → its values."""
PackedGrids = Mapping[str | None, Grid]
"""Value of the hyperparameter `solver` → grid of one trial; the key is None in protocols without solvers."""


def log_spaced(low_power: float, high_power: float, num: int) -> tuple[float, ...]:
    """`num` values from 10**low_power to 10**high_power, rounded to four significant digits.

    >>> log_spaced(-2, 0, 3)
    (0.01, 0.1, 1.0)
    """
    step = (high_power - low_power) / (num - 1)
    return tuple(float(f"{10 ** (low_power + i * step):.4g}") for i in range(num))


LINEAR_PROBE_MINIBATCH = 256
FINETUNE_MINIBATCH = 64
"""Examples per optimiser step where hyperparameters name no `batch_size`."""

LINEAR_PROBE: SearchSpace = {
    "solver": Choice(options=("sgd", "adamw", "lbfgs"), default="adamw"),
    # The paper's released linear_probe.py puts a BatchNorm without affine before the head of some backbones
    # only; here it is a choice for every backbone.
    "feature_norm": Choice(options=("standardize", "none", "l2"), default="standardize"),
    # Linear-evaluation recipes scale lr by batch/256; 1024 takes fewer steps for less time.
    "batch_size": Choice(options=(256, 1024), default=LINEAR_PROBE_MINIBATCH),
    # Length of the schedule; 90 in the paper's released linear_probe.py. Scaled down by `fit_epochs`.
    "epochs": Int(low=10, high=100, default=100),
}

KNN: SearchSpace = {
    # DINO's kNN evaluation compares l2-normalised features (Caron et al., ICCV 2021).
    "feature_norm": Choice(options=("l2", "standardize", "none"), default="l2"),
}

FINETUNE: SearchSpace = {
    # Defaults are the paper's values; ranges contain all values of its released configs: lr 2.5e-4 to 1e-3,
    # weight decay 1e-3 to 0.05, layer decay 0.65 and 0.75, drop-path 0.1 and 0.2.
    "lr": Float(low=1e-5, high=3e-3, log=True, default=1e-3),
    "weight_decay": Float(low=1e-3, high=0.3, log=True, default=0.05),
    "layer_decay": Float(low=0.5, high=1.0, default=0.75),
    "drop_path": Float(low=0.0, high=0.3, default=0.1),
}

# DINOv2's linear evaluation trains 13 learning rates at once (1e-5 to 0.1, `eval/linear.py`); ours start and
# end higher because standardised features carry SGD further. 13 × 4 = 52 heads.
_GRADIENT_GRID: Grid = {"lr": log_spaced(-4, 1, 13), "weight_decay": (0.0, 1e-5, 1e-4, 1e-3)}
LINEAR_PROBE_GRIDS: PackedGrids = {
    "sgd": _GRADIENT_GRID,
    "adamw": _GRADIENT_GRID,
    # DINOv2's logistic regression tries C in 10**linspace(-6, 5, 45) (`eval/log_regression.py`); 40 here.
    "lbfgs": {"inverse_l2": log_spaced(-6, 5, 40)},
}
KNN_GRIDS: PackedGrids = {
    # k: DINO's 10, 20, 100, 200 (`eval_knn.py`) and small ones for few-shot tasks. Weighting: plain vote, or
    # softmax(similarity / temperature) with DINO's 0.07 among the temperatures.
    None: {"k": (1, 3, 5, 10, 20, 50, 100, 200), "weighting": ("uniform", 0.02, 0.05, 0.07, 0.1, 0.2, 0.5)}
}

_NATURAL_ENDS: Mapping[str, tuple[float, ...]] = {
    "weight_decay": (0.0,),
    "k": (1,),
    "drop_path": (0.0,),
    "layer_decay": (1.0,),
}
"""Ends beyond which there is no value: no weight decay, nearest neighbour only, one rate for all layers."""


def fit_epochs(space: SearchSpace, max_epochs: int) -> SearchSpace:
    """Scale range and default of the dimension `epochs`, if there is one, so that it ends at `max_epochs`.

    >>> fit_epochs(LINEAR_PROBE, 20)["epochs"]
    Int(low=2, high=20, log=False, default=20)
    """
    epochs = space.get("epochs")
    if not isinstance(epochs, Int):
        return space
    low = max(1, epochs.low * max_epochs // epochs.high)
    return {**space, "epochs": replace(epochs, low=low, high=max_epochs, default=max_epochs)}


def defaults(space: SearchSpace) -> dict[str, HparamValue]:
    """The hyperparameters of search trial 0.

    >>> defaults(KNN)
    {'feature_norm': 'l2'}
    """
    return {name: dimension.default for name, dimension in space.items()}


def num_choices(space: SearchSpace) -> int | None:
    """Number of distinct choices in a finite space; None if a dimension is continuous.

    >>> num_choices(KNN), num_choices(FINETUNE)
    (3, None)
    """
    sizes = [
        len(dim.options) if isinstance(dim, Choice) else dim.high - dim.low + 1
        for dim in space.values()
        if not isinstance(dim, Float)
    ]
    return math.prod(sizes) if len(sizes) == len(space) else None


def edges(space: SearchSpace, hparams: Hparams) -> dict[str, End]:
    """Numeric dimensions whose value lies on an end of the space, so that the best may lie beyond it.

    Natural ends (weight decay 0, layer decay 1, k = 1) are not edges. Hyperparameters that are not in the
    space are ignored.

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

    >>> packed_edges(KNN_GRIDS[None], {"k": 200, "weighting": "uniform"})
    {'k': 'high'}
    """
    space = {name: _span(values) for name, values in grid.items() if name in chosen}
    numeric = {name: value for name, value in chosen.items() if not isinstance(value, str)}
    return edges({name: span for name, span in space.items() if span and name in numeric}, numeric)


def extension(dimension: Dimension, end: End) -> tuple[float, float]:
    """The range to try next when the best value lies on `end`: a decade further, or half as wide again.

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
