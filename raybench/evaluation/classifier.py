"""A fitted classifier: backbone and head as one function of pixels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from raybench.backbones.backbone import Backbone
from raybench.evaluation.feature_norm import FeatureNorm, resident, with_ones
from raybench.evaluation.outcomes import Predictions, SplitReport
from raybench.metrics import classification_metrics

SCORED_FLOATS = 2**24
"""Logits held at once while stored features are classified (64 MiB)."""


class Classifier(nn.Module):
    """Pixels in [0, 1], shape [b, 3, s, s] → logits [b, c]."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(pixels))

    def freeze(self) -> Classifier:
        """Evaluation mode and no gradients for weights; those for pixels stay possible."""
        self.backbone.freeze()
        self.requires_grad_(False)
        return self.train(False)

    def logits_of(self, features: Float[np.ndarray, "n d"], num_classes: int) -> Float[np.ndarray, "n c"]:
        """Classify features that are there already."""
        device = next(iter(self.backbone.buffers())).device
        return classify_features(self.head, features, num_classes, device)


def classify_features(
    head: nn.Module, features: Float[np.ndarray, "n d"], num_classes: int, device: torch.device
) -> Float[np.ndarray, "n c"]:
    """Logits of stored features, block by block."""
    size = max(1, SCORED_FLOATS // num_classes)
    whole = resident(features, device)
    with torch.inference_mode():
        blocks = [head(whole[start : start + size]).cpu() for start in range(0, len(whole), size)]
    return torch.cat(blocks).numpy()


class LinearHead(nn.Module):
    """Normalisation of features and a linear map, as a probe fitted them."""

    def __init__(self, norm: FeatureNorm, weights: Float[torch.Tensor, "d+1 c"]) -> None:
        super().__init__()
        self.kind = norm.kind
        self.register_buffer("mean", torch.from_numpy(np.array(norm.mean)).to(weights.device))
        self.register_buffer("scale", torch.from_numpy(np.array(norm.scale)).to(weights.device))
        self.register_buffer("weights", weights.detach().clone())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean, scale, weights = (self.get_buffer(name) for name in ("mean", "scale", "weights"))
        # Not in place, other than `FeatureNorm.apply`: attacks differentiate through this.
        if self.kind == "standardize":
            features = (features - mean) * scale
        elif self.kind == "l2":
            features = features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return with_ones(features) @ weights


def report_of(predictions: Predictions, metrics: tuple[str, ...]) -> SplitReport:
    """The report of a classifier: every metric from its logits."""
    return SplitReport(
        metrics=classification_metrics(predictions.logits, predictions.targets, metrics),
        num_examples=len(predictions.targets),
        predictions=predictions,
    )
