"""How each mini backbone is trained: one row per method and what an architecture changes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from raybench.backbones.mini.mae import MaskedAutoencoder
from raybench.backbones.mini.method import Method
from raybench.backbones.mini.simclr import SimCLR
from raybench.backbones.mini.simmim import SimMIM
from raybench.backbones.mini.supervised import Supervised
from raybench.catalog.mini import ARCHITECTURES
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a training run but the data and the seed."""

    method: Callable[[nn.Module, int], Method]
    """(headless backbone, its number of features) → module with `augment` and the loss as `forward`."""
    epochs: int
    """Shaped for about five to ten minutes on one CPU core; `--epochs` trains longer where there is a GPU."""
    batch_size: int = 128
    lr: float = 3e-3
    """Peak of the one-cycle schedule of AdamW."""
    weight_decay: float = 0.05
    """On matrices only; biases, norms and scales are left alone."""
    on_a_tenth: bool = False


METHODS: Mapping[str, Recipe] = {
    "supervised": Recipe(method=Supervised, epochs=12),
    "supervised10": Recipe(method=Supervised, epochs=70, batch_size=64, weight_decay=0.1, on_a_tenth=True),
    "simclr": Recipe(method=SimCLR, epochs=8, batch_size=256),
    "mae": Recipe(method=MaskedAutoencoder, epochs=20, batch_size=256, lr=2e-3),
    "simmim": Recipe(method=SimMIM, epochs=20, batch_size=256, lr=2e-3),
}
TRANSFORMER_LR = 1.5e-3
"""Transformers diverge at the rate that convolutions like best."""


def recipe_of(name: str) -> tuple[str, Recipe]:
    """`mini_vit.simclr` → (`mini_vit`, its recipe).

    Raises:
        UnknownNameError: if no file of that name is made here.
    """
    known = [f"{a}.{m}" for a, shape in ARCHITECTURES.items() for m in shape.methods]
    if name not in known:
        raise UnknownNameError(
            f"unknown mini backbone {name!r}{suggest(name, known)}; these are made: {', '.join(known)}."
        )
    architecture, method = name.split(".")
    recipe = METHODS[method]
    if ARCHITECTURES[architecture].family == "transformer":
        recipe = replace(recipe, lr=min(recipe.lr, TRANSFORMER_LR))
    return architecture, recipe
