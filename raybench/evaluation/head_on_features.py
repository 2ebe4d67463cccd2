"""A linear head on frozen features: what the protocols that end in one share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch

from raybench.backbones.loading import load_backbone
from raybench.catalog.tasks import CLASSIFICATION_METRICS
from raybench.evaluation.classifier import SCORED_FLOATS, Classifier, LinearHead, report_of
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.feature_norm import FeatureNorm, resident, with_ones
from raybench.evaluation.outcomes import Predictions, SplitReport


class HeadOnFeatures:
    """Features from the store, their normalisation, and a head [d + 1, c] once there is one."""

    def __init__(self, context: TrialContext, *, kind: str) -> None:
        self._context = context
        self._kind = kind
        self._norm: FeatureNorm | None = None
        self._head: torch.Tensor | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the logits' columns."""
        return self._context.dataset.class_names

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Metrics of the best head so far, from `predict`."""
        return report_of(self.predict(split), CLASSIFICATION_METRICS)

    def classifier(self) -> Classifier:
        """Backbone and the best head so far."""
        backbone = load_backbone(self._context.backbone_info, device=self._context.device)
        return Classifier(backbone, self._linear_head()).freeze()

    def state(self) -> Mapping[str, torch.Tensor]:
        """The head: weights [d + 1, c], and the features' mean and scale [d]."""
        return self._linear_head().state_dict()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the head out of `state`."""
        self._norm = FeatureNorm(kind=self._kind, mean=state["mean"].numpy(), scale=state["scale"].numpy())  # type: ignore[arg-type]
        self._head = state["weights"].to(self._context.device)

    def _linear_head(self) -> LinearHead:
        if self._head is None or self._norm is None:
            raise RuntimeError("there is no head yet; iterate run_epochs() or call restore() first.")
        return LinearHead(self._norm, self._head)

    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Logits of the best head so far, [n, c]."""
        if self._head is None:
            raise RuntimeError("predict() needs at least one rung; iterate run_epochs() first.")
        found = self._features(split)
        blocks = [logits[:, :, 0].cpu() for logits, _ in self._blocks(found, self._head, 1)]
        return Predictions(
            ids=tuple(found.ids), targets=np.asarray(found.targets), logits=torch.cat(blocks).numpy()
        )

    def _features(self, split: Literal["train", "val", "test"]) -> Any:
        context = self._context
        return context.store.get(context.backbone_info, context.dataset, split, device=context.device)

    def _blocks(
        self, found: Any, weights: torch.Tensor, num_heads: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(logits [b, c, m], targets [b]) block by block, in order."""
        if self._norm is None:
            raise RuntimeError("the features' normalisation is fitted by run_epochs().")
        size = max(1, SCORED_FLOATS // weights.shape[1])
        features = resident(found.features, weights.device)
        for start in range(0, len(features), size):
            block = self._norm.apply(features[start : start + size].clone())
            targets = torch.tensor(found.targets[start : start + size], device=weights.device)
            yield (with_ones(block) @ weights).view(len(block), -1, num_heads), targets
