"""Base class of runs that end in a classifier, which evaluators can measure further."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch

from raybench.catalog.tasks import CLASSIFICATION_METRICS
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.outcomes import EpochResult, Predictions, SplitReport
from raybench.metrics import classification_metrics


class ClassifierRun(ABC):
    """A `ProtocolRun` whose metrics are computed from its logits."""

    metrics: ClassVar[tuple[str, ...]] = CLASSIFICATION_METRICS
    """What `report` measures: the metrics of the protocol's row."""

    def __init__(self, context: TrialContext) -> None:
        self._context = context

    @abstractmethod
    def run_epochs(self) -> Iterator[EpochResult]:
        """See `ProtocolRun.run_epochs`."""

    @abstractmethod
    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Logits of the classifier that was best on val so far, for every example of `split`.

        Raises:
            SplitLockedError: if `split` is test while the dataset is locked.
        """

    @abstractmethod
    def classifier(self) -> Classifier:
        """The classifier that was best on val, frozen; needs at least one epoch, or `restore`."""

    @abstractmethod
    def state(self) -> Mapping[str, torch.Tensor]:
        """The tensors from which `restore` makes the same classifier without training."""

    @abstractmethod
    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load what `state` returned, instead of running epochs."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the logits' columns: the dataset's classes, unless the head comes with others."""
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
