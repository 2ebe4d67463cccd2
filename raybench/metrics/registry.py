"""What a metric is: a function of logits and targets with a direction and bounds.

Directions and bounds are read by `raybench rank`, so nothing here or in the metric files imports torch
before a value is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raybench.core.records import Direction
from raybench.core.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

ArrayFunction = Callable[["NDArray[Any]", "NDArray[Any]"], float]
"""(logits [n, c], targets [n]) → value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A named, directed, bounded quantity."""

    name: str
    direction: Direction
    """Which way is better. Known here and nowhere else."""
    bounds: tuple[float, float]
    """Smallest and largest possible value; a value outside is a bug, not a result."""
    doc: str = ""
    """What it is, in a line."""

    @property
    def best(self) -> float:
        """The bound that a flawless classifier reaches."""
        return self.bounds[0] if self.direction == "min" else self.bounds[1]

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than the value `than`."""
        return value < than if self.direction == "min" else value > than


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayMetric(Metric):
    """A metric that is a function of logits and targets."""

    compute: ArrayFunction


METRICS: Registry[Metric] = Registry("metric", Metric)


def declare(name: str, *, direction: Direction, bounds: tuple[float, float], doc: str = "") -> None:
    """Register a metric whose value a protocol or an evaluator computes from more than logits and targets."""
    METRICS.add(name, Metric(name=name, direction=direction, bounds=bounds, doc=doc))


def metric(
    name: str, *, direction: Direction, bounds: tuple[float, float]
) -> Callable[[ArrayFunction], ArrayFunction]:
    """Register a function as the metric `name`; the function itself is returned unchanged."""

    def register(compute: ArrayFunction) -> ArrayFunction:
        doc = (compute.__doc__ or "").strip().partition("\n")[0]
        METRICS.add(
            name, ArrayMetric(name=name, compute=compute, direction=direction, bounds=bounds, doc=doc)
        )
        return compute

    return register
