"""What an evaluator measures: one fitted classifier, and all that is already known about it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import Float, Int

from raybench.catalog.datasets import DatasetInfo
from raybench.catalog.evaluators.info import EvaluatorSettings
from raybench.core.errors import UnknownNameError
from raybench.core.preprocessing import Preprocessing
from raybench.core.records import Split
from raybench.core.registry import suggest
from raybench.data.dataset import Dataset
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.contracts import ClassifierRun, TrialContext
from raybench.evaluation.outcomes import Evaluation, Predictions
from raybench.features.process_cache import cached_dataset
from raybench.features.store import suitable_batch_size
from raybench.store.files import StoragePath


@dataclass(frozen=True, slots=True, kw_only=True)
class Representations:
    """A split as the classifier sees it, in the split's order."""

    ids: tuple[str, ...]
    targets: Int[np.ndarray, " n"]
    features: Float[np.ndarray, "n d"]
    logits: Float[np.ndarray, "n c"]


class Subject:
    """A fitted classifier under examination. What costs something is computed when first asked for."""

    def __init__(
        self,
        context: TrialContext,
        run: ClassifierRun,
        predictions: Mapping[Split, Predictions],
        *,
        seed: int,
        datasets: Mapping[str, DatasetInfo],
        storage: StoragePath,
        checkpoint_dir: StoragePath,
        is_frozen_backbone: bool,
    ) -> None:
        """
        Args:
            context: of the final trial; its test split is open.
            run: fitted or restored.
            predictions: of val and test.
            seed: of the final trial; evaluators draw from it alone.
            datasets: rows by name: the task's own and all that evaluators may ask for.
            storage: where image hashes are kept.
            checkpoint_dir: for the evaluator's partial results; survives a kill, removed at its end.
            is_frozen_backbone: whether features are those of the feature store.
        """
        self.context = context
        self.predictions = predictions
        self.seed = seed
        self.checkpoint_dir = checkpoint_dir
        self._run = run
        self._datasets = datasets
        self._storage = storage
        self._is_frozen_backbone = is_frozen_backbone
        self._represented: dict[tuple[str, Split], Representations] = {}

    @functools.cached_property
    def classifier(self) -> Classifier:
        """Pixels [b, 3, s, s] in [0, 1] → logits [b, c]: frozen, evaluation mode, on the trial's device."""
        return self._run.classifier().freeze()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the logits' columns."""
        return self._run.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the classifier's pixels."""
        return self.classifier.backbone.preprocessing

    @property
    def batch_size(self) -> int:
        """Images per forward pass that suit the device, halved as often as memory ran out."""
        suitable = suitable_batch_size(self.context.device, self.preprocessing.input_size)
        return max(1, suitable >> self.context.store.num_halvings)

    def load_dataset(self, name: str) -> Dataset:
        """A dataset that the spec or the catalogue knows, with its test split open.

        Raises:
            UnknownNameError: if the spec resolved no dataset of that name.
        """
        if name not in self._datasets:
            raise UnknownNameError(f"no dataset {name!r} in this experiment{suggest(name, self._datasets)}.")
        return cached_dataset(self._datasets[name], self._storage).unlocked()

    def represent(self, dataset: Dataset, split: Split) -> Representations:
        """Features and logits of a split: from the feature store where the backbone is frozen, else one pass.

        Raises:
            SplitLockedError: for the test split of a dataset that is locked.
        """
        key = (dataset.fingerprint, split)
        if key not in self._represented:
            self._represented[key] = self._represent(dataset, split)
        return self._represented[key]

    def _represent(self, dataset: Dataset, split: Split) -> Representations:
        context = self.context
        examples = dataset.split(split)
        if self._is_frozen_backbone:
            found = context.store.get(context.backbone_info, dataset, split, device=context.device)
            features = np.asarray(found.features)
            logits = self.classifier.logits_of(features, len(self.class_names))
        else:
            features, logits = self.classifier.features_and_logits(
                examples, self.batch_size, device=context.device, num_threads=context.num_threads
            )
        return Representations(
            ids=tuple(examples.ids), targets=np.asarray(examples.targets), features=features, logits=logits
        )


Settings = TypeVar("Settings", bound=EvaluatorSettings, contravariant=True)


class Evaluator(Protocol[Settings]):
    """Measures a fitted classifier further. Same subject and settings, same findings."""

    def __call__(self, subject: Subject, settings: Settings) -> Evaluation: ...
