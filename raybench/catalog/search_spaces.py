"""Search spaces: hyperparameters that Tune varies between trials, and grids that one trial trains at once.

A sampler draws from the dimensions of a `SearchSpace`. A packed grid is not drawn from: one trial trains all
its cells in a single pass over the features and chooses among them on val.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from raybench.core.records import Hparams, HparamValue

When = Mapping[str, tuple[HparamValue, ...]]
"""Other hyperparameters → the values with which a dimension is searched; with any other value it takes its
default."""
Limits = Mapping[str, tuple[float, float]]
"""Hyperparameter → smallest and largest number that its protocol can use."""
MAX_ENUMERATED = 10_000
"""Choices of a space that are listed one by one in order to count them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Float:
    """A real number in [low, high], drawn uniformly or, with `log`, log-uniformly."""

    low: float
    high: float
    log: bool = False
    default: float
    when: When = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Int:
    """A whole number in [low, high], both ends included."""

    low: int
    high: int
    log: bool = False
    default: int
    when: When = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few unordered options."""

    options: tuple[HparamValue, ...]
    default: HparamValue
    when: When = field(default_factory=dict)


Dimension = Float | Int | Choice
SearchSpace = Mapping[str, Dimension]
Grid = Mapping[str, tuple[HparamValue, ...]]
"""Packed hyperparameter → its values."""
PackedGrids = Mapping[str | None, Grid]
"""Value of the protocol's `packed_by` (`solver`) → grid of one trial; the key is None where it has none."""


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

LINEAR_PROBE_LIMITS: Limits = {
    "batch_size": (1, 2**20),
    "epochs": (1, 10_000),
    "lr": (1e-10, 1e4),
    "weight_decay": (0.0, 1e3),
    "inverse_l2": (1e-12, 1e12),
    "ridge_penalty": (1e-12, 1e12),
}
LINEAR_PROBE_ON_REQUEST: Grid = {
    # Least squares is solved exactly, but it is not the paper's probe: a spec asks for it.
    "solver": ("ridge",),
}
KNN_LIMITS: Limits = {"k": (1, 10_000), "weighting": (1e-3, 1e3)}

# DINOv2's linear evaluation trains 13 learning rates at once (1e-5 to 0.1, `eval/linear.py`); ours start and
# end higher because standardised features carry SGD further. 13 × 4 = 52 heads.
_GRADIENT_GRID: Grid = {"lr": log_spaced(-4, 1, 13), "weight_decay": (0.0, 1e-5, 1e-4, 1e-3)}
LINEAR_PROBE_GRIDS: PackedGrids = {
    "sgd": _GRADIENT_GRID,
    "adamw": _GRADIENT_GRID,
    # DINOv2's logistic regression tries C in 10**linspace(-6, 5, 45) (`eval/log_regression.py`); 40 here.
    "lbfgs": {"inverse_l2": log_spaced(-6, 5, 40)},
    # Penalty per example: with standardised features, whose covariance has trace d, 1e-7 is none and 1e4 is
    # all. Four per decade, as in DINOv2's logistic regression.
    "ridge": {"ridge_penalty": log_spaced(-7, 4, 45)},
}
KNN_GRIDS: PackedGrids = {
    # k: DINO's 10, 20, 100, 200 (`eval_knn.py`) and small ones for few-shot tasks. Weighting: plain vote, or
    # softmax(similarity / temperature) with DINO's 0.07 among the temperatures.
    None: {"k": (1, 3, 5, 10, 20, 50, 100, 200), "weighting": ("uniform", 0.02, 0.05, 0.07, 0.1, 0.2, 0.5)}
}


def fit_epochs(space: SearchSpace, max_epochs: int) -> SearchSpace:
    """Scale range and default of the dimension `epochs`, if there is one, so that it ends at `max_epochs`.

    >>> fit_epochs(LINEAR_PROBE, 20)["epochs"]
    Int(low=2, high=20, log=False, default=20, when={})
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


def settle(space: SearchSpace, hparams: Hparams) -> dict[str, HparamValue]:
    """`hparams` with the default of every dimension that these hyperparameters do not search; see `When`.

    >>> space = {**KNN, "k": Int(low=1, high=9, default=5, when={"feature_norm": ("l2",)})}
    >>> settle(space, {"feature_norm": "none", "k": 7})
    {'feature_norm': 'none', 'k': 5}
    """
    return {
        name: hparams[name] if is_active(dimension, hparams) else dimension.default
        for name, dimension in space.items()
    }


def is_active(dimension: Dimension, hparams: Hparams) -> bool:
    """Whether the dimension is searched together with these hyperparameters."""
    return all(hparams.get(name) in values for name, values in dimension.when.items())


def union(dimensions: Sequence[Dimension]) -> Dimension:
    """One dimension with every value of all of them, without conditions.

    >>> union([Int(low=1, high=9, default=5), Choice(options=(4, 20), default=4)])
    Int(low=1, high=20, log=False, default=5, when={})
    """
    first = dimensions[0]
    choices = [dimension for dimension in dimensions if isinstance(dimension, Choice)]
    if len(choices) == len(dimensions):
        options = dict.fromkeys(value for choice in choices for value in choice.options)
        return Choice(options=tuple(options), default=first.default)
    ends = [
        float(value)
        for d in dimensions
        for value in (d.options if isinstance(d, Choice) else (d.low, d.high))
    ]
    log = min(ends) > 0 and any(isinstance(d, Float | Int) and d.log for d in dimensions)
    if any(isinstance(d, Float) for d in dimensions):
        return Float(low=min(ends), high=max(ends), log=log, default=float(first.default))
    return Int(low=int(min(ends)), high=int(max(ends)), log=log, default=int(first.default))


def contains(space: SearchSpace, hparams: Hparams) -> bool:
    """Whether these hyperparameters are a choice of the space.

    >>> contains(KNN, {"feature_norm": "l2"}), contains(KNN, {"feature_norm": "l2", "k": 3})
    (True, False)
    """
    return set(space) == set(hparams) and all(
        _holds(dimension, hparams[name])
        if is_active(dimension, hparams)
        else hparams[name] == dimension.default
        for name, dimension in space.items()
    )


def _holds(dimension: Dimension, value: HparamValue) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.options
    if isinstance(value, str | bool):
        return False
    return dimension.low <= value <= dimension.high and (isinstance(dimension, Float) or value == int(value))


def num_choices(space: SearchSpace) -> int | None:
    """Number of distinct choices in a finite space; None if a dimension is continuous.

    In a large space with conditional dimensions, choices that differ in an unsearched dimension count twice.

    >>> num_choices(KNN), num_choices(FINETUNE)
    (3, None)
    """
    if any(isinstance(dimension, Float) for dimension in space.values()):
        return None
    options = [_options(dimension) for dimension in space.values()]
    num = math.prod(map(len, options))
    if num > MAX_ENUMERATED or not any(dimension.when for dimension in space.values()):
        return num
    choices = (dict(zip(space, values, strict=True)) for values in itertools.product(*options))
    return len({tuple(settle(space, choice).items()) for choice in choices})


def _options(dimension: Dimension) -> Sequence[HparamValue]:
    if isinstance(dimension, Choice):
        return dimension.options
    if isinstance(dimension, Int):
        return range(dimension.low, dimension.high + 1)
    raise TypeError("a Float has no list of options")
