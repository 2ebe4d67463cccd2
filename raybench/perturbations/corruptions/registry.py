"""Corruptions by name, and how one is applied: severities, seeds, bounds.

Parameters are those of Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019, and formulas those of the authors' ImageNet-C code for 224 pixels,
except frost. Unlike ImageNet-C's files, images are not rounded down to bytes and not saved as JPEG.

Lengths in pixels (blur radii, displacements) grow with size / 224 for larger images and shrink with its
square root for smaller ones. In proportion, a blur would vanish at 32 pixels; the authors' CIFAR-10-C, tuned
separately, has lengths close to these.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from raybench.core.registry import Registry

Pixels = Float[torch.Tensor, "b 3 s s"]
Draws = Sequence[np.random.Generator]
"""One random generator per image."""
ORIGINAL_SIZE = 224


Apply = Callable[[Pixels, Any, Draws], Pixels]
"""(Pixels, parameters of a severity, generators) → damaged pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """One way of damaging images, at five severities."""

    name: str
    apply: Apply
    levels: tuple[Any, ...]
    """Parameters of severity 1 to 5."""
    is_extra: bool
    """One of the four that the authors hold back for validation."""

    def __call__(self, pixels: Pixels, severity: int, ids: Sequence[str]) -> Pixels:
        """Damage images.

        Args:
            pixels: in [0, 1], shape [b, 3, s, s], s from 32 to 512.
            severity: 1 to 5.
            ids: of the examples; they seed the random numbers, so that batching does not matter.

        Returns:
            The same shape, in [0, 1].

        Raises:
            ValueError: if there is no such severity.
        """
        if severity not in range(1, len(self.levels) + 1):
            raise ValueError(f"{self.name} has severities 1 to {len(self.levels)}, got {severity}.")
        # The same random numbers at every severity, so that only the severity differs.
        draws = [_generator(f"{self.name}/{example_id}") for example_id in ids]
        return self.apply(pixels, self.levels[severity - 1], draws).clamp(0, 1)


CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corruption(name: str, *, levels: tuple[Any, ...], is_extra: bool = False) -> Callable[[Apply], Apply]:
    """Register a function as the corruption `name`."""

    def register(apply: Apply) -> Apply:
        CORRUPTIONS.add(name, Corruption(name=name, apply=apply, levels=levels, is_extra=is_extra))
        return apply

    return register


def stack(arrays: list[np.ndarray], like: Pixels) -> torch.Tensor:
    """One array per image as a float32 tensor on the device of `like`."""
    return torch.from_numpy(np.stack(arrays).astype(np.float32)).to(like.device)


def scale_of(pixels: Pixels) -> float:
    """Factor for lengths in pixels, which are given for 224 pixels."""
    share = pixels.shape[-1] / ORIGINAL_SIZE
    return share if share >= 1 else float(share**0.5)


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
