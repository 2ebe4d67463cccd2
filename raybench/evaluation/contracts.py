"""What protocols are: a factory of runs, each of which fits and reports. And the context they are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from raybench.core.records import Hparams
from raybench.evaluation.outcomes import EpochResult, SplitReport
from raybench.store.files import StoragePath

if TYPE_CHECKING:
    import torch

    from raybench.catalog.backbone_info import BackboneInfo
    from raybench.data.dataset import Dataset
    from raybench.evaluation.classifier import Classifier
    from raybench.features.store import FeatureStore


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialContext:
    """Where a trial happens: the same for every hyperparameter choice of a pair."""

    backbone_info: BackboneInfo
    dataset: Dataset
    """Its test split is locked during search and open in the final stage; protocols need not know which."""
    store: FeatureStore
    device: torch.device
    checkpoint_dir: StoragePath
    """Of this trial alone; what it holds is from an earlier attempt at the same trial."""
    num_threads: int = 1


class ProtocolRun(Protocol):
    """One hyperparameter choice being carried out with one seed."""

    def run_epochs(self) -> Iterator[EpochResult]:
        """Fit, and say after each epoch how val stands; may be abandoned after any of them.

        Raises:
            DivergedError: if the loss becomes NaN or infinite.
        """
        ...

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Measure what was best on val so far; needs at least one rung.

        Raises:
            SplitLockedError: if `split` is test while the dataset is locked.
        """
        ...


@runtime_checkable
class ClassifierRun(ProtocolRun, Protocol):
    """A run that ends in a classifier, which evaluators can measure further."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the logits' columns: the dataset's, unless the head brings its own."""
        ...

    def classifier(self) -> Classifier:
        """The classifier that was best on val, frozen; needs at least one rung, or `restore`."""
        ...

    def state(self) -> Mapping[str, torch.Tensor]:
        """What `restore` needs to make the same classifier without training."""
        ...

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the place of all rungs: afterwards `classifier` answers."""
        ...


class ProtocolFactory(Protocol):
    """Prepares a run; nothing is computed before its first rung is asked for."""

    def __call__(self, context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
        """`max_epochs` caps the hyperparameter `epochs` and so the length of the learning-rate schedule."""
        ...
