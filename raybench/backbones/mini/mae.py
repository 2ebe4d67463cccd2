"""Masked autoencoding: the ViT encodes 6 of 16 patches, a small decoder reconstructs the others.

Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022 (per-patch normalised pixels
as the target). Masking 75 % of 16 patches, instead of 196, leaves too little: 10 of 16 are masked here.
"""

from typing import Any

import torch
from torch import Tensor, nn

from raybench.backbones.mini.augment import normalise, resized_crop, to_pixels
from raybench.backbones.mini.method import Method

NUM_VISIBLE = 6
DECODER_DIM = 96
DECODER_HEADS = 3
DECODER_DEPTH = 1


class MaskedAutoencoder(Method):
    """A timm ViT and a decoder; `forward` is the mean squared error over the masked patches."""

    def __init__(self, backbone: Any, num_features: int) -> None:
        super().__init__()
        self.backbone: Any = backbone  # timm's VisionTransformer; its parts are called separately.
        patch_size, _ = backbone.patch_embed.patch_size
        self.patch_size: int = patch_size
        num_patches = backbone.patch_embed.num_patches
        self.embed = nn.Sequential(nn.LayerNorm(num_features), nn.Linear(num_features, DECODER_DIM))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, DECODER_DIM))
        self.position = nn.Parameter(torch.randn(1, num_patches, DECODER_DIM) * 0.02)
        layer = nn.TransformerEncoderLayer(
            DECODER_DIM, DECODER_HEADS, 2 * DECODER_DIM, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerEncoder(layer, DECODER_DEPTH, enable_nested_tensor=False)
        self.reconstruct = nn.Sequential(nn.LayerNorm(DECODER_DIM), nn.Linear(DECODER_DIM, 3 * patch_size**2))

    def augment(self, images: Tensor) -> tuple[Tensor, ...]:
        return (normalise(resized_crop(to_pixels(images), smallest=0.3)),)

    def forward(self, views: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Views: one of shape [b, 3, 32, 32]; labels are ignored. Returns a scalar, chance about 1."""
        del labels
        tokens = self.backbone.patch_embed(views[0]) + self.backbone.pos_embed
        b, num_patches, d = tokens.shape
        order = torch.rand(b, num_patches).argsort(dim=1).to(tokens.device)
        visible, hidden = order[:, :NUM_VISIBLE], order[:, NUM_VISIBLE:]
        encoded = self.backbone.blocks(tokens.gather(1, visible[..., None].expand(-1, -1, d)))
        tokens = self.mask_token.expand(b, num_patches, -1).scatter(
            1, visible[..., None].expand(-1, -1, DECODER_DIM), self.embed(encoded)
        )
        reconstructed = self.reconstruct(self.decoder(tokens + self.position))
        error = (reconstructed - patch_targets(views[0], self.patch_size)).square().mean(dim=2)
        return error.gather(1, hidden).mean()


def patch_targets(pixels: Tensor, patch_size: int) -> Tensor:
    """Pixels of each patch, standardised by the mean and deviation of the patch.

    Args:
        pixels: shape [b, 3, h, w]; patch_size divides h and w.

    Returns:
        Shape [b, patches in reading order, 3 · patch_size²].
    """
    patches = nn.functional.unfold(pixels, patch_size, stride=patch_size).transpose(1, 2)
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return (patches - mean) / (variance + 1e-4).sqrt()
