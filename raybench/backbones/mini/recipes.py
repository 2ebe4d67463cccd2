"""Training recipes of the mini backbones: one per method, adapted to the architecture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from raybench.backbones.mini.mae import MaskedAutoencoder
from raybench.backbones.mini.method import Method
from raybench.backbones.mini.simclr import SimCLR
from raybench.backbones.mini.simmim import SimMIM
from raybench.backbones.mini.supervised import Supervised
from raybench.catalog.mini import ARCHITECTURES, PRETRAINED
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training run, without data and seed."""

    method: Callable[[nn.Module, int], Method]
    """(headless backbone, its number of features) → module with `augment` and the loss as `forward`."""
    epochs: int
    """Chosen for five to ten minutes on one CPU core; `--epochs` overrides it."""
    batch_size: int = 128
    lr: float = 3e-3
    """Peak of the one-cycle schedule of AdamW."""
    weight_decay: float = 0.05
    """Of matrices only; biases, norms and scales have none."""
    on_a_tenth: bool = False
    """Train on the first tenth of every class."""


METHODS: Mapping[str, Recipe] = {
    "supervised": Recipe(method=Supervised, epochs=12),
    "supervised10": Recipe(method=Supervised, epochs=70, batch_size=64, weight_decay=0.1, on_a_tenth=True),
    "simclr": Recipe(method=SimCLR, epochs=8, batch_size=256),
    "mae": Recipe(method=MaskedAutoencoder, epochs=20, batch_size=256, lr=2e-3),
    "simmim": Recipe(method=SimMIM, epochs=20, batch_size=256, lr=2e-3),
}
TRANSFORMER_LR = 1.5e-3
"""Transformers diverge at the learning rate that suits convolutions."""


def recipe_of(name: str) -> tuple[str, Recipe]:
    """Architecture and recipe of a mini backbone: `mini_vit.simclr` → (`mini_vit`, …).

    Raises:
        UnknownNameError: if there is no recipe of that name.
    """
    if name not in PRETRAINED:
        hint = suggest(name, PRETRAINED)
        raise UnknownNameError(f"unknown mini backbone {name!r}{hint}; known are {', '.join(PRETRAINED)}.")
    architecture, method = PRETRAINED[name]
    recipe = METHODS[method]
    if ARCHITECTURES[architecture].family == "transformer":
        recipe = replace(recipe, lr=min(recipe.lr, TRANSFORMER_LR))
    return architecture, recipe
