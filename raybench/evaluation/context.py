"""What a protocol is given and what it gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from raybench.metrics import METRICS
from raybench.records import Hparams, HparamValue
from raybench.storage import Place

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
    checkpoint_dir: Place
    """Of this trial alone; what it holds is from an earlier attempt at the same trial."""
    num_threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """How a trial stands after one epoch; what early stopping and the learning curve read."""

    epoch: int
    """Epochs completed, from 1."""
    metrics: Mapping[str, float]
    """Bare metric name → value on val, of the best head."""
    chosen: Mapping[str, HparamValue] = field(default_factory=dict)
    """What the trial chose on val itself: the best head's packed hyperparameters and its `epoch`. Merged into
    `hparams` they make a trial without a grid that trains this head alone."""
    grid: tuple[Mapping[str, HparamValue], ...] = ()
    """One entry per packed head: its hyperparameters and its `accuracy` on val."""
    edges: Mapping[str, str] = field(default_factory=dict)
    """Packed dimension → `low` or `high` where the chosen value is the last one of its grid."""

    def is_better(self, than: Rung | None, objective: str) -> bool:
        """Whether this epoch is preferred: by `objective`, ties by nll; else the earlier epoch stays."""
        if than is None:
            return True
        mine, theirs = self.metrics[objective], than.metrics[objective]
        if mine != theirs:
            return METRICS[objective].is_better(mine, theirs)
        return self.metrics.get("nll", 0.0) < than.metrics.get("nll", 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What the fitted classifier says about every example of a split, in the split's order."""

    ids: tuple[str, ...]
    targets: Int[np.ndarray, " n"]
    logits: Float[np.ndarray, "n c"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """What a fitted run measured on one split."""

    metrics: Mapping[str, float]
    """Bare metric name → value."""
    num_examples: int
    """Examples, or queries, that the values average over."""
    predictions: Predictions | None = None
    """Of classifiers; None where a protocol has no logits."""
    per_query: Mapping[str, Float[np.ndarray, " q"]] | None = None
    """Bare metric name → one value per query, in the split's order; None where predictions say it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One value that an evaluator measured on test."""

    condition: str
    """What was done, every setting that changes the value included: `fog(severity=3)`."""
    metric: str
    value: float
    num_examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that an evaluator found out about one fitted classifier."""

    findings: tuple[Finding, ...]
    curves: Mapping[str, tuple[Mapping[str, float | str], ...]] = field(default_factory=dict)
    """Figure name → its rows, JSON-ready; drawn elsewhere."""
    warnings: tuple[str, ...] = ()
    """What makes the values doubtful, in sentences."""


class ProtocolRun(Protocol):
    """One hyperparameter choice being carried out with one seed."""

    def rungs(self) -> Iterator[Rung]:
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

    def __call__(
        self,
        context: TrialContext,
        hparams: Hparams,
        seed: int,
        max_epochs: int,
        fixed: Hparams | None = None,
    ) -> ProtocolRun:
        """`fixed` is what a search chose (`Rung.chosen`); it is merged over `hparams`.

        `max_epochs` caps the hyperparameter `epochs`, and with it the length of the learning-rate schedule.
        """
        ...
