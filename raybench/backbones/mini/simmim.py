"""Masked image modelling for a Swin: masked tokens are replaced, not dropped, which keeps its windows.

Source: Xie et al., "SimMIM: A Simple Framework for Masked Image Modeling", CVPR 2022 (learnt mask token, one
linear layer as the decoder, absolute error over masked pixels). Blocks of 8×8 pixels are masked, 10 of 16, as
many as in `mae.py`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raybench.backbones.mini.augment import normalise, resized_crop, to_pixels
from raybench.backbones.mini.method import Method

BLOCK = 8
"""Side of a masked block, pixels."""
NUM_VISIBLE = 6
"""Of 16 blocks."""


class SimMIM(Method):
    """A timm Swin and a linear decoder; `forward` is the mean absolute error over masked pixels."""

    def __init__(self, backbone: Any, num_features: int) -> None:
        super().__init__()
        self.backbone: Any = backbone  # timm's SwinTransformer; its parts are called separately.
        self.mask_token = nn.Parameter(torch.randn(backbone.patch_embed.proj.out_channels) * 0.02)
        rows, _ = backbone.patch_embed.grid_size
        self.stride: int = backbone.patch_embed.patch_size[0] * rows // final_rows(backbone)
        self.reconstruct = nn.Conv2d(num_features, 3 * self.stride**2, 1)

    def augment(self, images: Tensor) -> tuple[Tensor, ...]:
        return (normalise(resized_crop(to_pixels(images), smallest=0.3)),)

    def forward(self, views: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Views: one of shape [b, 3, 32, 32]; labels are ignored. Returns a scalar, in normalised pixels."""
        del labels
        (pixels,) = views
        hidden = hidden_blocks(len(pixels), pixels.shape[2] // BLOCK).to(pixels.device)
        tokens = self.backbone.patch_embed(pixels)  # [b, rows, columns, d]
        masked = grow(hidden, tokens.shape[1] // hidden.shape[1])[..., None]
        encoded = self.backbone.norm(self.backbone.layers(torch.where(masked, self.mask_token, tokens)))
        reconstructed = F.pixel_shuffle(self.reconstruct(encoded.permute(0, 3, 1, 2)), self.stride)
        error = (reconstructed - pixels).abs().mean(dim=1)
        return error[grow(hidden, BLOCK)].mean()


def final_rows(backbone: Any) -> int:
    """Rows of the last stage's feature map: every stage after the first halves them."""
    rows: int = backbone.patch_embed.grid_size[0]
    return rows // 2 ** (len(backbone.layers) - 1)


def hidden_blocks(num_images: int, side: int) -> Tensor:
    """Random masks, bool [n, side, side]: all blocks of an image but `NUM_VISIBLE`."""
    order = torch.rand(num_images, side * side).argsort(dim=1)
    hidden = torch.ones(num_images, side * side, dtype=torch.bool)
    return hidden.scatter(1, order[:, :NUM_VISIBLE], False).view(num_images, side, side)


def grow(blocks: Tensor, factor: int) -> Tensor:
    """Repeat each cell of [n, rows, columns] factor × factor times.

    >>> grow(torch.tensor([[[True, False]]]), 2).int().tolist()
    [[[1, 1, 0, 0], [1, 1, 0, 0]]]
    """
    return blocks.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
