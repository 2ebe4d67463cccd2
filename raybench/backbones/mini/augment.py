"""Augmentations as batched tensor operations, fast enough for training on one core.

Input is uint8 [b, 32, 32, 3], output float32 [b, 3, 32, 32] in [0, 1]. Randomness comes from torch's default
CPU generator, whose state is saved in the training checkpoint.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from raybench.catalog.mini import CIFAR10_MEAN, CIFAR10_STD

PADDING = 4
CUTOUT_SIZE = 8


def normalise(pixels: Tensor) -> Tensor:
    """[0, 1] → zero mean, unit variance per channel over CIFAR-10; shape kept, [b, 3, h, w]."""
    mean = torch.tensor(CIFAR10_MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(CIFAR10_STD, device=pixels.device).view(3, 1, 1)
    return (pixels - mean) / std


def to_pixels(images: Tensor) -> Tensor:
    """uint8 [b, h, w, 3] → float32 [b, 3, h, w] in [0, 1]."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def crop_flip(images: Tensor) -> Tensor:
    """Shift by up to 4 pixels (borders repeated) and mirror half of the images, in one gather."""
    b, size = images.shape[:2]
    steps = torch.arange(size)
    rows = steps + torch.randint(-PADDING, PADDING + 1, (b, 1))
    columns = steps + torch.randint(-PADDING, PADDING + 1, (b, 1))
    columns = torch.where(torch.rand(b, 1) < 0.5, columns, columns.flip(1)).clamp_(0, size - 1)
    rows = rows.clamp_(0, size - 1)
    picked = images[torch.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return to_pixels(picked)


def cutout(pixels: Tensor) -> Tensor:
    """Grey out one 8×8 square per image, which may cross the border. Source: DeVries & Taylor, 2017."""
    b, _, h, w = pixels.shape
    top, left = torch.randint(-CUTOUT_SIZE // 2, h - CUTOUT_SIZE // 2, (2, b, 1))
    rows = (torch.arange(h) >= top) & (torch.arange(h) < top + CUTOUT_SIZE)
    columns = (torch.arange(w) >= left) & (torch.arange(w) < left + CUTOUT_SIZE)
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    return pixels.masked_fill(hole, 0.5)


def resized_crop(pixels: Tensor, smallest: float = 0.2) -> Tensor:
    """Crop a random share (`smallest` to 1) of the area, aspect 3:4 to 4:3; resize back; mirror half."""
    b = pixels.shape[0]
    area = torch.empty(b).uniform_(smallest, 1.0)
    aspect = torch.empty(b).uniform_(-0.2877, 0.2877).exp()  # log(4/3) = 0.2877.
    width, height = (area * aspect).sqrt().clamp_(max=1), (area / aspect).sqrt().clamp_(max=1)
    centre_x = (torch.rand(b) * 2 - 1) * (1 - width)
    centre_y = (torch.rand(b) * 2 - 1) * (1 - height)
    mirror = torch.where(torch.rand(b) < 0.5, 1.0, -1.0)
    zero = torch.zeros(b)
    top_row = torch.stack([width * mirror, zero, centre_x], dim=1)
    bottom_row = torch.stack([zero, height, centre_y], dim=1)
    grid = F.affine_grid(torch.stack([top_row, bottom_row], dim=1), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def colour_jitter(pixels: Tensor, strength: float = 0.4) -> Tensor:
    """Change brightness, contrast, saturation and channel gains of 80 %, turn 20 % of the images grey.

    Channel gains replace SimCLR's hue shift: as effective against matching by colour histogram, without a
    conversion to HSV.
    """
    b = pixels.shape[0]

    def factor(channels: int = 1, by: float = strength) -> Tensor:
        return torch.empty(b, channels, 1, 1).uniform_(1 - by, 1 + by)

    jittered = pixels * factor() * factor(3, strength / 2)
    mean = jittered.mean(dim=(1, 2, 3), keepdim=True)
    jittered = (jittered - mean) * factor() + mean
    grey = jittered.mean(dim=1, keepdim=True)
    jittered = ((jittered - grey) * factor() + grey).clamp_(0, 1)
    jittered = torch.where(torch.rand(b, 1, 1, 1) < 0.8, jittered, pixels)
    return torch.where(torch.rand(b, 1, 1, 1) < 0.2, jittered.mean(dim=1, keepdim=True), jittered)
