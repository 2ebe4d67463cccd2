"""The interface of a backbone: pixels in [0, 1] → features. Normalisation is part of the network.

One adapter per origin implements it: `TimmBackbone`, and `ModuleBackbone` for networks that a row's entry
point builds.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from raybench.backbones.feature_spec import FeatureSpec
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.preprocessing import Preprocessing

Pixels = Float[torch.Tensor, "b 3 s s"]
Images = Float[torch.Tensor, "b 3 s s"]
"""Normalised pixels."""
Features = Float[torch.Tensor, "b d"]
PIXEL_TOLERANCE = 1e-5
"""Rounding error that is accepted in pixels outside [0, 1]."""


class Backbone(nn.Module, ABC):
    """A network with its normalisation in front. Adapters implement the abstract members."""

    def __init__(
        self, model: nn.Module, info: BackboneInfo, preprocessing: Preprocessing, *, digest: str
    ) -> None:
        super().__init__()
        self._mean: torch.Tensor
        self._std: torch.Tensor
        # Any: torch's stubs type every attribute of a module as a tensor or a module, methods included.
        self.model: Any = model
        self.info = info
        self.preprocessing = preprocessing
        self.digest = digest
        """Identity of architecture and weights; equal digests give equal features."""
        self._is_frozen = False
        # Not persistent: they belong to the preprocessing, not to the weights.
        self.register_buffer("_mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)

    @classmethod
    @abstractmethod
    def create(cls, info: BackboneInfo, kwargs: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        """Build the network, with the weights that its origin publishes or freshly initialised.

        Args:
            kwargs: the row's, and where they apply `num_classes` (0: no head) and `drop_path_rate`.

        Raises:
            CheckpointError: the network cannot be built, or its weights are not available.
        """

    @classmethod
    @abstractmethod
    def classifier_names(cls, info: BackboneInfo) -> tuple[str, ...]:
        """Names of the modules that make up the head in a checkpoint; empty if it has none."""

    @abstractmethod
    def drop_head(self) -> None:
        """Remove the classifier that the checkpoint came with, if there is one."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Width d of the pooled features."""

    @property
    @abstractmethod
    def head(self) -> nn.Module | None:
        """The classifier that the checkpoint came with; None if it has none or it was dropped."""

    @abstractmethod
    def _pooled(self, images: Images) -> Features:
        """Pooled features, as the checkpoint's own classifier receives them."""

    @abstractmethod
    def _extract(self, images: Images, specs: Sequence[FeatureSpec]) -> list[Features]:
        """Features of each spec; `CheckpointError` for a layer that the network lacks."""

    @property
    def num_params(self) -> int:
        """Parameters without the classifier."""
        in_head = {id(p) for p in self.head.parameters()} if self.head is not None else set()
        return sum(p.numel() for p in self.model.parameters() if id(p) not in in_head)

    def forward(self, pixels: Pixels) -> Features:
        """Pooled features.

        Raises:
            ValueError: pixels outside [0, 1] (or NaN), most often because they were normalised already.
        """
        return self._pooled(self.normalise(pixels))

    def extract(self, pixels: Pixels, specs: Sequence[FeatureSpec]) -> list[Features]:
        """Features of each spec, sharing forward passes. Scales are ignored: see `load_at_scale`.

        Raises:
            CheckpointError: the architecture lacks a requested layer.
            ValueError: pixels outside [0, 1].
        """
        return self._extract(self.normalise(pixels), specs)

    def normalise(self, pixels: Pixels) -> Images:
        """Subtract the mean and divide by the standard deviation of the preprocessing.

        Raises:
            ValueError: pixels outside [0, 1] (or NaN).
        """
        low, high = torch.aminmax(pixels.detach())
        # Written so that NaN, which compares false with everything, is refused too.
        if not (low >= -PIXEL_TOLERANCE and high <= 1 + PIXEL_TOLERANCE):
            raise ValueError(
                f"pixels must lie in [0, 1], got [{float(low):.3g}, {float(high):.3g}]; pass unnormalised "
                "images (normalisation belongs to the backbone)."
            )
        return (pixels.contiguous(memory_format=torch.channels_last) - self._mean) / self._std

    def freeze(self) -> "Backbone":
        """Switch to evaluation mode without gradients for weights; `train()` has no effect afterwards."""
        self._is_frozen = True
        self.requires_grad_(False)
        return self.train(False)

    @contextmanager
    def frozen(self) -> Iterator["Backbone"]:
        """Freeze inside the block and restore modes and gradients afterwards."""
        gradients = [(p, p.requires_grad) for p in self.parameters()]
        modes = [(m, m.training) for m in self.modules()]
        was_frozen = self._is_frozen
        self.freeze()
        try:
            yield self
        finally:
            self._is_frozen = was_frozen
            for parameter, requires_grad in gradients:
                parameter.requires_grad_(requires_grad)
            for module, mode in modes:
                module.training = mode

    def train(self, mode: bool = True) -> "Backbone":
        """As in torch, but without effect on a frozen backbone, whose batch statistics must not change."""
        super().train(mode and not self._is_frozen)
        return self
