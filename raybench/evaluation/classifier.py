"""A fitted classifier: backbone and head as one function of pixels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from raybench.backbones.backbone import Backbone
from raybench.data.batches import batches
from raybench.data.dataset import Examples
from raybench.evaluation.feature_norm import resident
from raybench.evaluation.precision import mixed_precision

MAX_LOGITS = 2**24
"""Logits held at once while stored features are classified: 64 MiB."""


class Classifier(nn.Module):
    """Pixels in [0, 1], shape [b, 3, s, s] → logits [b, c]."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(pixels))

    def freeze(self) -> Classifier:
        """Switch to evaluation mode without gradients for weights; gradients for pixels remain possible."""
        self.backbone.freeze()
        self.requires_grad_(False)
        return self.train(False)

    def features_and_logits(
        self, examples: Examples, batch_size: int, *, device: torch.device, num_threads: int
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n c"]]:
        """Pass every image through backbone and head, in half precision on a GPU; float32 results."""
        features, logits = [], []
        stream = batches(
            examples, self.backbone.preprocessing, batch_size, num_threads=num_threads, device=device
        )
        with torch.inference_mode(), mixed_precision(device):
            for pixels in stream:
                pooled = self.backbone(pixels)
                features.append(pooled.float().cpu())
                logits.append(self.head(pooled).float().cpu())
        return torch.cat(features).numpy(), torch.cat(logits).numpy()

    def logits_of(self, features: Float[np.ndarray, "n d"], num_classes: int) -> Float[np.ndarray, "n c"]:
        """Classify stored features of the backbone, block by block."""
        size = max(1, MAX_LOGITS // num_classes)
        rows = resident(features, next(iter(self.backbone.buffers())).device)
        with torch.inference_mode():
            blocks = [self.head(rows[start : start + size]).cpu() for start in range(0, len(rows), size)]
        return torch.cat(blocks).numpy()
