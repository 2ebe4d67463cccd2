"""What a metric is: a function of logits and targets with a direction and bounds.

Directions and bounds are read by `raybench rank`, so nothing here or in the metric files imports torch
before a value is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raybench.records import Direction
from raybench.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

ArrayFunction = Callable[["NDArray[Any]", "NDArray[Any]"], float]
"""(logits [n, c], targets [n]) → value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A named, directed, bounded function of arrays."""

    name: str
    compute: ArrayFunction
    direction: Direction
    """Which way is better. Known here and nowhere else."""
    bounds: tuple[float, float]
    """Smallest and largest possible value; a value outside is a bug, not a result."""

    @property
    def best(self) -> float:
        """The bound that a flawless classifier reaches."""
        return self.bounds[0] if self.direction == "min" else self.bounds[1]

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than the value `than`."""
        return value < than if self.direction == "min" else value > than


METRICS: Registry[Metric] = Registry("metric")


def metric(
    name: str, *, direction: Direction, bounds: tuple[float, float]
) -> Callable[[ArrayFunction], ArrayFunction]:
    """Register a function as the metric `name`; the function itself is returned unchanged."""

    def register(compute: ArrayFunction) -> ArrayFunction:
        METRICS.add(name, Metric(name=name, compute=compute, direction=direction, bounds=bounds))
        return compute

    return register
