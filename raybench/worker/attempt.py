"""One attempt at fitting a trial, epoch by epoch. After running out of memory, a new attempt replaces it."""

from dataclasses import dataclass, field

from raybench.core.records import CurvePoint
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.outcomes import EpochResult


@dataclass(kw_only=True)
class Attempt:
    """A protocol's run and its progress: the curve so far and the epoch that is best on val."""

    run: ProtocolRun
    context: TrialContext
    objective: str
    """Metric by which epochs are compared on val."""
    curve: list[CurvePoint] = field(default_factory=list)
    best: EpochResult | None = None
    latest: EpochResult | None = None

    def __post_init__(self) -> None:
        self._results = self.run.run_epochs()
        self._ahead: EpochResult | None = None

    def train_epoch(self) -> bool:
        """Train one epoch; return False if none was left.

        Raises:
            RuntimeError: if the protocol yields no epoch at all, which breaks its contract.
        """
        result = self._ahead or next(self._results, None)
        self._ahead = None
        if result is None:
            if self.latest is None:
                raise RuntimeError("a protocol's run must yield at least one epoch")
            return False
        self.latest = result
        if result.is_better(self.best, self.objective):
            self.best = result
        self.curve.append(CurvePoint(epoch=result.epoch, metrics=dict(result.metrics)))
        return True

    def is_over(self) -> bool:
        """Whether no epoch is left. This trains the next epoch if there is one."""
        self._ahead = next(self._results, None)
        return self._ahead is None
