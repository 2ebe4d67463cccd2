"""What evaluators measure: a fitted classifier with its predictions, and the outputs for other datasets."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.catalog.datasets import DatasetInfo
from raybench.catalog.evaluators.info import EvaluatorSettings
from raybench.core.errors import UnknownNameError
from raybench.core.records import Split
from raybench.core.registry import suggest
from raybench.data.batches import batches
from raybench.data.dataset import Dataset, Examples
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.classifier_run import ClassifierRun
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.outcomes import Evaluation, Predictions
from raybench.features.batch_size import suitable_batch_size
from raybench.features.process_cache import cached_dataset
from raybench.store.files import StoragePath


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOutputs:
    """Features and logits of a split, in the split's order."""

    ids: tuple[str, ...]
    targets: Int[np.ndarray, " n"]
    features: Float[np.ndarray, "n d"]
    logits: Float[np.ndarray, "n c"]


@dataclass(frozen=True, kw_only=True)
class FittedClassifier:
    """A fitted classifier and what is known about it. Expensive parts are computed at first use."""

    context: TrialContext
    """Context of the final trial; its test split is unlocked."""
    run: ClassifierRun
    """The protocol's run, fitted or restored."""
    predictions: Mapping[Split, Predictions]
    """Predictions on val and test."""
    seed: int
    """Seed of the final trial; evaluators seed their generators with it and leave the global ones alone."""
    datasets: Mapping[str, DatasetInfo]
    """Rows by name: the task's dataset and those that evaluators read."""
    storage: StoragePath
    """Where hashes of images are stored."""
    checkpoint_dir: StoragePath
    """The evaluator's own folder for partial results, which an interrupted attempt leaves there."""
    is_backbone_frozen: bool
    """Whether the backbone's features can be read from the feature store."""
    _outputs: dict[tuple[str, Split], SplitOutputs] = field(default_factory=dict, init=False, repr=False)

    @functools.cached_property
    def classifier(self) -> Classifier:
        """Pixels [b, 3, s, s] in [0, 1] → logits [b, c]; frozen, in evaluation mode."""
        return self.run.classifier().freeze()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the logits' columns."""
        return self.run.class_names

    @property
    def batch_size(self) -> int:
        """Images per forward pass that suit the device, halved as often as memory ran out."""
        suitable = suitable_batch_size(self.context.device, self.classifier.backbone.preprocessing.input_size)
        return max(1, suitable >> self.context.store.num_halvings)

    def pixel_batches(self, examples: Examples) -> Iterator[Float[torch.Tensor, "b 3 s s"]]:
        """The classifier's input for these images, in order, in batches of `batch_size`."""
        return batches(
            examples,
            self.classifier.backbone.preprocessing,
            self.batch_size,
            num_threads=self.context.num_threads,
            device=self.context.device,
        )

    def load_dataset(self, name: str) -> Dataset:
        """A dataset of the spec or the catalogue, with its test split unlocked.

        Raises:
            UnknownNameError: if the experiment has no dataset of that name.
        """
        if name not in self.datasets:
            raise UnknownNameError(f"no dataset {name!r} in this experiment{suggest(name, self.datasets)}.")
        return cached_dataset(self.datasets[name], self.storage).unlocked()

    def outputs(self, dataset: Dataset, split: Split) -> SplitOutputs:
        """Features and logits of a split; features come from the store if the backbone is frozen.

        Raises:
            SplitLockedError: for the test split of a dataset that is locked.
        """
        key = (dataset.fingerprint, split)
        if key not in self._outputs:
            self._outputs[key] = self._compute_outputs(dataset, split)
        return self._outputs[key]

    def _compute_outputs(self, dataset: Dataset, split: Split) -> SplitOutputs:
        context, examples = self.context, dataset.split(split)
        if self.is_backbone_frozen:
            stored = context.store.get(context.backbone_info, dataset, split, device=context.device)
            features = np.asarray(stored.features)
            logits = self.classifier.logits_of(features, len(self.class_names))
        else:
            features, logits = self.classifier.features_and_logits(
                examples, self.batch_size, device=context.device, num_threads=context.num_threads
            )
        return SplitOutputs(
            ids=tuple(examples.ids), targets=np.asarray(examples.targets), features=features, logits=logits
        )


Settings = TypeVar("Settings", bound=EvaluatorSettings, contravariant=True)


class Evaluator(Protocol[Settings]):
    """Measures a fitted classifier further; the same classifier and settings give the same results."""

    def __call__(self, fitted: FittedClassifier, settings: Settings) -> Evaluation: ...
