"""What all runs that end in a classifier share: class names, and a report made from predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from raybench.catalog.tasks import CLASSIFICATION_METRICS
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.outcomes import Predictions, SplitReport
from raybench.metrics import classification_metrics


class BaseClassifierRun(ABC):
    """A run whose metrics are computed from its logits."""

    metrics: ClassVar[tuple[str, ...]] = CLASSIFICATION_METRICS
    """What `report` measures: the metrics of the protocol's row."""

    def __init__(self, context: TrialContext) -> None:
        self._context = context

    @abstractmethod
    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Logits of the classifier that was best on val so far, for every example of `split`."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the logits' columns."""
        return self._context.dataset.class_names

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """The metrics of `predict`.

        Raises:
            SplitLockedError: if `split` is test while the dataset is locked.
        """
        predictions = self.predict(split)
        return SplitReport(
            metrics=classification_metrics(predictions.logits, predictions.targets, self.metrics),
            num_examples=len(predictions.targets),
            predictions=predictions,
        )
