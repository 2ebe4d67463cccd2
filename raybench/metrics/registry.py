"""Registry of metrics: name, direction, bounds, and how each is resampled.

`raybench rank` reads directions and bounds, so the metric files import torch, scipy and numpy only inside the
functions that compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from raybench.core.records import Direction
from raybench.core.registry import Registry
from raybench.metrics.resampling import Resampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

ArrayFunction = Callable[["NDArray[Any]", "NDArray[Any]"], float]
"""(logits [n, c], targets [n]) → value."""
Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A named, directed, bounded quantity."""

    name: str
    direction: Direction
    """Whether lower ("min") or higher ("max") is better. Stated here and nowhere else."""
    bounds: tuple[float, float]
    """Smallest and largest possible value; a value outside is a bug, not a result."""
    resampling: Resampling
    """Statistic for the bootstrap, or the reason why there is none."""
    doc: str = ""
    """Definition in one line."""
    qualifier: str = ""
    """What a reader must know beside the name wherever a value is shown, e.g. `upper bound`."""

    @property
    def label(self) -> str:
        """The name, with the qualifier in parentheses if there is one."""
        return f"{self.name} ({self.qualifier})" if self.qualifier else self.name

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


def declare(
    name: str,
    *,
    direction: Direction,
    bounds: tuple[float, float],
    resampling: Resampling,
    doc: str,
    qualifier: str = "",
) -> None:
    """Register a metric that is not a function of logits and targets alone."""
    entry = Metric(
        name=name, direction=direction, bounds=bounds, resampling=resampling, doc=doc, qualifier=qualifier
    )
    METRICS.add(name, entry)


def evaluator_metric(
    name: str,
    *,
    direction: Direction,
    bounds: tuple[float, float],
    resampling: Resampling,
    qualifier: str = "",
) -> Callable[[Function], Function]:
    """Register a function of what an evaluator observed as the metric `name`; it is returned unchanged."""

    def register(compute: Function) -> Function:
        doc = _first_line(compute)
        declare(name, direction=direction, bounds=bounds, resampling=resampling, doc=doc, qualifier=qualifier)
        return compute

    return register


def metric(
    name: str, *, direction: Direction, bounds: tuple[float, float], resampling: Resampling
) -> Callable[[ArrayFunction], ArrayFunction]:
    """Register a function of logits and targets as the metric `name`; the function is returned unchanged."""

    def register(compute: ArrayFunction) -> ArrayFunction:
        entry = ArrayMetric(
            name=name,
            compute=compute,
            direction=direction,
            bounds=bounds,
            resampling=resampling,
            doc=_first_line(compute),
        )
        METRICS.add(name, entry)
        return compute

    return register


def _first_line(function: Callable[..., object]) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]
