"""The backbone `colour_grid`: mean colours on a coarse grid; nothing is learnt."""

from torch import Tensor, nn


class ColourGrid(nn.Module):
    """Normalised images [b, 3, s, s] → features [b, 3 · side²]."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(side)
        self.num_features = 3 * side**2

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(images).flatten(1)


def colour_grid(*, pretrained: bool, side: int) -> ColourGrid:
    """Build the network; there are no weights to load."""
    return ColourGrid(side)
