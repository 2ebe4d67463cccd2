"""How a metric is resampled: statistics that the bootstrap can recompute on drawn examples.

A metric's `resampling` maps what is stored about n examples to one of three statistics:

| statistic | for example |
|---|---|
| `PerExampleMean` | accuracy, reciprocal rank |
| `RatioOfSums` | mean class accuracy, mIoU |
| `WeightedFunction` | area under a risk-coverage or precision-recall curve |

or it is `NotResampled`, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.floating]


class Statistic(Protocol):
    """A value that n weighted examples determine."""

    @property
    def num_examples(self) -> int: ...

    def at(self, weights: Values) -> Values:
        """Compute the value under r weightings of the examples.

        Args:
            weights: how often each example counts, non-negative whole numbers, shape [r, n].

        Returns:
            Shape [r]; NaN where the examples drawn leave the value undefined.
        """


@dataclass(frozen=True, slots=True, eq=False)
class PerExampleMean:
    """Mean of one value per example."""

    values: Values
    """Shape [n]; NaN where an example has no value."""

    @property
    def num_examples(self) -> int:
        return len(self.values)

    def at(self, weights: Values) -> Values:
        return weights @ self.values / weights.sum(axis=1)


def all_means(statistics: Sequence[Sequence[Statistic]]) -> list[list[PerExampleMean]] | None:
    """The statistics themselves if all are means of per-example values, else None."""
    means = [[s for s in group if isinstance(s, PerExampleMean)] for group in statistics]
    return means if [*map(len, means)] == [*map(len, statistics)] else None


@dataclass(frozen=True, slots=True, eq=False)
class RatioOfSums:
    """Mean over k ratios of per-example sums; a ratio whose denominator is 0 is left out of the mean."""

    numerators: Any
    """Shape [n, k], dense or a scipy.sparse array."""
    denominators: Any
    """Non-negative, of the same shape."""

    @property
    def num_examples(self) -> int:
        return int(self.numerators.shape[0])

    def at(self, weights: Values) -> Values:
        import numpy as np

        # Transposed: scipy.sparse multiplies dense arrays from the right only.
        top, bottom = self.numerators.T @ weights.T, self.denominators.T @ weights.T
        is_defined = bottom > 0
        ratios = np.divide(top, bottom, out=np.zeros(bottom.shape), where=is_defined)
        num_defined = is_defined.sum(axis=0)
        undefined = np.full(len(weights), np.nan)
        return np.divide(ratios.sum(axis=0), num_defined, out=undefined, where=num_defined > 0)


@dataclass(frozen=True, slots=True, eq=False)
class WeightedFunction:
    """Any function of the examples' weights."""

    num_examples: int
    value: Callable[[Values], float]
    """Weights [n] → value; NaN where it is undefined."""

    def at(self, weights: Values) -> Values:
        import numpy as np

        return np.array([self.value(row) for row in weights])


@dataclass(frozen=True, slots=True)
class NotResampled:
    """A metric that cannot be recomputed on drawn examples; its intervals come from seeds alone."""

    reason: str
    """Completes "… is not resampled, because"."""


Resampling = Callable[..., Statistic] | NotResampled
"""For an `ArrayMetric` a function of (logits, targets); else of the values that are stored per query."""
