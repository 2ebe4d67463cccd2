"""Supervised pretraining: cross-entropy with label smoothing on a linear head, which is not exported."""

import torch.nn.functional as F
from torch import Tensor, nn

from raybench.backbones.mini.augment import crop_flip, cutout, normalise
from raybench.backbones.mini.method import Method

NUM_CLASSES = 10


class Supervised(Method):
    """Backbone and linear head; `forward` is the loss of a batch."""

    def __init__(self, backbone: nn.Module, num_features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(num_features, NUM_CLASSES)

    def augment(self, images: Tensor) -> tuple[Tensor, ...]:
        return (normalise(cutout(crop_flip(images))),)

    def forward(self, views: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Views: one of shape [b, 3, 32, 32]; labels [b] in [0, 10). Returns a scalar, chance log(10)."""
        return F.cross_entropy(self.head(self.backbone(views[0])), labels, label_smoothing=0.1)
