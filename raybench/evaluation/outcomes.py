"""Results of protocols and evaluators: epoch results, predictions, split reports, evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from raybench.core.condition import Condition
from raybench.core.records import HparamValue, MetricValue
from raybench.metrics import METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """Metrics on val after one epoch; early stopping and learning curves use them."""

    epoch: int
    """Epochs completed, from 1."""
    metrics: Mapping[str, float]
    """Metric → value on val; of the best head where several are trained at once."""
    chosen: Mapping[str, HparamValue] = field(default_factory=dict)
    """What the trial itself chose on val: the best head's packed hyperparameters and its `epoch`. A trial
    whose `hparams` include them trains this head alone."""
    grid: tuple[Mapping[str, HparamValue], ...] = ()
    """One entry per packed head: its hyperparameters and its objective on val, and in a large pack `epoch`,
    the epochs that it was trained for (see `halving`)."""
    edges: Mapping[str, str] = field(default_factory=dict)
    """Packed dimension → `low` or `high` where the chosen value is the last one of its grid."""

    @property
    def values(self) -> tuple[MetricValue, ...]:
        """The metrics as a trial's record holds them."""
        return tuple(MetricValue(split="val", metric=name, value=v) for name, v in self.metrics.items())

    def is_better(self, than: EpochResult | None, objective: str) -> bool:
        """Whether this epoch is better by `objective`, or ties and has a lower `nll`."""
        if than is None:
            return True
        value, other_value = self.metrics[objective], than.metrics[objective]
        if value != other_value:
            return METRICS[objective].is_better(value, other_value)
        return self.metrics.get("nll", 0.0) < than.metrics.get("nll", 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Logits of every example of a split, in the split's order."""

    ids: tuple[str, ...]
    targets: Int[np.ndarray, " n"]
    logits: Float[np.ndarray, "n c"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """A run's metrics on one split, with what they are computed from."""

    metrics: Mapping[str, float]
    """Metric → value."""
    num_examples: int
    """Examples, or queries, that the values average over."""
    predictions: Predictions | None = None
    """Predictions of a classifier; None for protocols without logits."""
    per_query: Mapping[str, Float[np.ndarray, " q"]] | None = None
    """For retrieval: metric → one value per query, in the split's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """One value that an evaluator measured on test."""

    condition: Condition
    """What was done, with every setting that changes the value."""
    metric: str
    value: float
    num_examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An evaluator's result for one fitted classifier."""

    results: tuple[MetricResult, ...]
    curves: Mapping[str, tuple[Mapping[str, float | str], ...]] = field(default_factory=dict)
    """Name of a figure → its rows, JSON-ready; the report draws it."""
    warnings: tuple[str, ...] = ()
    """Sentences about what makes the values doubtful."""
