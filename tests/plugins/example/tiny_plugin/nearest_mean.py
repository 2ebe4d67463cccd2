"""The protocol `nearest_mean`: classify by the nearest class mean of the training features."""

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn

from raybench.backbones.loading import load_backbone
from raybench.core.records import Hparams
from raybench.evaluation.classifier import Classifier, report_of
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.outcomes import EpochResult, Predictions, SplitReport


def nearest_mean(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> "NearestMeanRun":
    """Prepare a run. Nothing is searched or random."""
    return NearestMeanRun(context)


class NearestMeanRun:
    """A `ClassifierRun` with one epoch."""

    def __init__(self, context: TrialContext) -> None:
        self._context = context
        self._head = nn.Linear(1, 1)

    def run_epochs(self) -> Iterator[EpochResult]:
        """Compute the class means. -|x - m|² is linear in x but for a term that all classes share."""
        train = self._features("train")
        features, targets = np.asarray(train.features), np.asarray(train.targets)
        means = np.stack([features[targets == c].mean(axis=0) for c in range(len(self.class_names))])
        self.restore(
            {"weight": torch.from_numpy(2 * means), "bias": -torch.from_numpy(means).square().sum(1)}
        )
        yield EpochResult(epoch=1, metrics=self.report("val").metrics)

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Metrics of the classifier on a split."""
        found = self._features(split)
        with torch.inference_mode():
            logits = self._head(torch.from_numpy(np.array(found.features))).numpy()
        predictions = Predictions(ids=tuple(found.ids), targets=np.asarray(found.targets), logits=logits)
        return report_of(predictions, ("accuracy", "top3_accuracy"))

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._context.dataset.class_names

    def classifier(self) -> Classifier:
        backbone = load_backbone(self._context.backbone_info, device=self._context.device)
        return Classifier(backbone, self._head).freeze()

    def state(self) -> Mapping[str, torch.Tensor]:
        return self._head.state_dict()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        num_classes, num_features = state["weight"].shape
        self._head = nn.Linear(num_features, num_classes)
        self._head.load_state_dict(dict(state))

    def _features(self, split: Literal["train", "val", "test"]):
        context = self._context
        return context.store.get(context.backbone_info, context.dataset, split, device=context.device)
