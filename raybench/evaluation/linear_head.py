"""Linear heads on frozen features, and the runs that end in one."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from raybench.backbones.loading import load_backbone
from raybench.evaluation.classifier import MAX_LOGITS, Classifier
from raybench.evaluation.classifier_run import ClassifierRun
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.device_features import DeviceFeatures
from raybench.evaluation.feature_norm import FeatureNorm, NormKind, with_ones
from raybench.evaluation.outcomes import Predictions
from raybench.features.store import FeatureSet


class LinearHead(nn.Module):
    """Normalisation of features and a linear map, as a probe has fitted them."""

    def __init__(self, norm: FeatureNorm, weights: Float[torch.Tensor, "d+1 c"]) -> None:
        super().__init__()
        self.kind = norm.kind
        self.register_buffer("mean", torch.from_numpy(np.array(norm.mean)).to(weights.device))
        self.register_buffer("scale", torch.from_numpy(np.array(norm.scale)).to(weights.device))
        self.register_buffer("weights", weights.detach().clone())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean, scale, weights = (self.get_buffer(name) for name in ("mean", "scale", "weights"))
        # Not in place, unlike `FeatureNorm.apply`: attacks differentiate through this.
        if self.kind == "standardize":
            features = (features - mean) * scale
        elif self.kind == "l2":
            features = features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return with_ones(features) @ weights


class LinearHeadRun(ClassifierRun, ABC):
    """A run that ends in a head [d + 1, c] on stored features; its last row is the bias."""

    def __init__(self, context: TrialContext, norm_kind: NormKind) -> None:
        super().__init__(context)
        self._norm_kind = norm_kind
        self._norm: FeatureNorm | None = None
        self._head: torch.Tensor | None = None

    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Logits of the best head so far."""
        head = self._fitted()[1]
        stored = self._context.features(split)
        blocks = [logits[:, :, 0].cpu() for logits, _ in self._scored(stored, head, 1)]
        return Predictions(
            ids=tuple(stored.ids), targets=np.asarray(stored.targets), logits=torch.cat(blocks).numpy()
        )

    def classifier(self) -> Classifier:
        """Backbone and the best head so far, frozen."""
        backbone = load_backbone(self._context.backbone_info, device=self._context.device)
        return Classifier(backbone, LinearHead(*self._fitted())).freeze()

    def state(self) -> Mapping[str, torch.Tensor]:
        """Weights [d + 1, c] of the head, mean and scale [d] of the features."""
        return LinearHead(*self._fitted()).state_dict()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load head and normalisation from `state`."""
        self._norm = FeatureNorm(
            kind=self._norm_kind, mean=state["mean"].numpy(), scale=state["scale"].numpy()
        )
        self._head = state["weights"].to(self._context.device)

    def _fitted(self) -> tuple[FeatureNorm, torch.Tensor]:
        if self._head is None or self._norm is None:
            raise RuntimeError("there is no head yet; iterate run_epochs() or call restore() first.")
        return self._norm, self._head

    def _scored(
        self, stored: FeatureSet, weights: torch.Tensor, num_heads: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(Logits [b, c, m], targets [b]) of m heads [d + 1, c·m], block by block in the split's order."""
        if self._norm is None:
            raise RuntimeError("the features' normalisation is fitted by run_epochs().")
        size = max(1, MAX_LOGITS // weights.shape[1])
        for part, rows in DeviceFeatures(stored.features, weights.device).blocks(size):
            block = self._norm.apply(rows.clone())
            targets = torch.tensor(stored.targets[part], device=weights.device)
            yield (with_ones(block) @ weights).view(len(block), -1, num_heads), targets
