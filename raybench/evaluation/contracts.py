"""Interfaces of protocols: the context of a trial, the factory of runs, and what every run can do.

Runs that end in a classifier inherit from `classifier_run.ClassifierRun`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from raybench.core.records import Hparams, Split
from raybench.evaluation.outcomes import EpochResult, SplitReport
from raybench.store.files import StoragePath

if TYPE_CHECKING:
    import torch

    from raybench.catalog.backbone_info import BackboneInfo
    from raybench.catalog.search_spaces import Grid
    from raybench.data.dataset import Dataset
    from raybench.features.store import FeatureSet, FeatureStore


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialContext:
    """Backbone, dataset and machine of a trial: everything but its hyperparameters and seed."""

    backbone_info: BackboneInfo
    dataset: Dataset
    """Its test split is locked during the search and unlocked in the final stage."""
    store: FeatureStore
    device: torch.device
    checkpoint_dir: StoragePath
    """The trial's own folder; files in it come from an interrupted attempt at the same trial."""
    num_threads: int = 1
    packed: Grid = field(default_factory=dict)
    """Packed hyperparameters to which the spec gives other values than the protocol's row."""
    objective: str = "accuracy"
    """Metric on val by which heads and epochs are compared: `ExperimentSpec.objective_of` the protocol."""

    def features(self, split: Split) -> FeatureSet:
        """The backbone's pooled features of a split, computed if they are not stored yet.

        Raises:
            SplitLockedError: if `split` is test while the dataset is locked.
        """
        return self.store.get(self.backbone_info, self.dataset, split, device=self.device)


class ProtocolRun(Protocol):
    """One choice of hyperparameters with one seed."""

    def run_epochs(self) -> Iterator[EpochResult]:
        """Train, and yield the metrics on val after each epoch; the caller may stop after any epoch.

        Raises:
            DivergedError: if the loss becomes NaN or infinite.
        """
        ...

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Measure the model that was best on val so far; needs at least one epoch.

        Raises:
            SplitLockedError: if `split` is test while the dataset is locked.
        """
        ...


class ProtocolFactory(Protocol):
    """Creates a run. Nothing is computed before its first epoch."""

    def __call__(self, context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
        """`max_epochs` caps the hyperparameter `epochs`, and so the length of the learning-rate schedule."""
        ...
