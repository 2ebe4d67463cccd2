"""SimCLR: contrastive learning with two views of each image.

Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raybench.backbones.mini.augment import colour_jitter, normalise, resized_crop, to_pixels
from raybench.backbones.mini.method import Method

TEMPERATURE = 0.2
NUM_HIDDEN = 256
NUM_PROJECTED = 64


class SimCLR(Method):
    """Backbone and projection head; `forward` is the NT-Xent loss of a batch."""

    def __init__(self, backbone: nn.Module, num_features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Sequential(
            nn.Linear(num_features, NUM_HIDDEN, bias=False),
            nn.BatchNorm1d(NUM_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(NUM_HIDDEN, NUM_PROJECTED),
        )

    def augment(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = to_pixels(images)
        return tuple(normalise(colour_jitter(resized_crop(pixels))) for _ in range(2))

    def forward(self, views: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Views: two of shape [b, 3, 32, 32]; labels are ignored. Returns a scalar, chance log(2b − 1)."""
        del labels
        projected = self.projection(self.backbone(torch.cat(views)))
        return nt_xent(F.normalize(projected.float(), dim=1), TEMPERATURE)


def nt_xent(unit: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of identifying each row's other view among all other rows.

    Args:
        unit: rows of length 1, shape [2b, d]; row i and row i + b are the views of one image.
        temperature: divides the cosine similarities.

    >>> apart = torch.eye(4)[[0, 1, 0, 1]]
    >>> round(nt_xent(apart, 0.01).item(), 4)
    0.0
    """
    b = unit.shape[0] // 2
    similarity = (unit @ unit.T / temperature).fill_diagonal_(float("-inf"))
    other_view = torch.arange(2 * b, device=unit.device).roll(b)
    return F.cross_entropy(similarity, other_view)
