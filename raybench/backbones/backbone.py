"""A backbone: pixels in [0, 1] → features. Normalisation is inside; frozen means frozen."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from raybench.backbones.feature_spec import FeatureSpec
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError
from raybench.core.records import Preprocessing

Pixels = Float[torch.Tensor, "b 3 s s"]
PIXEL_TOLERANCE = 1e-5
"""How far outside [0, 1] rounding may carry a pixel."""


class Backbone(nn.Module):
    """A timm model with its own normalisation in front and, unless asked for, no head behind."""

    def __init__(
        self,
        model: nn.Module,
        info: BackboneInfo,
        preprocessing: Preprocessing,
        *,
        digest: str,
        has_head: bool,
    ) -> None:
        super().__init__()
        self._mean: torch.Tensor
        self._std: torch.Tensor
        # Any: torch's stubs take every attribute of a module for a tensor or a module, timm's methods too.
        self.model: Any = model
        self.info = info
        self.preprocessing = preprocessing
        self.digest = digest
        """Identity of architecture and weights; equal digests give equal features."""
        self.has_head = has_head
        self._is_frozen = False
        # Not persistent: they belong to the preprocessing, not to the weights.
        self.register_buffer("_mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)
        self.num_features = self._measure_num_features()

    @property
    def num_params(self) -> int:
        """Parameters without the classifier."""
        head = {id(p) for module in self._classifiers() for p in module.parameters()}
        return sum(p.numel() for p in self.model.parameters() if id(p) not in head)

    def forward(self, pixels: Pixels) -> Float[torch.Tensor, "b d"]:
        """Pooled features, as timm's own classifier would receive them.

        Raises:
            ValueError: pixels outside [0, 1] (or NaN), most often because they were normalised already.
        """
        normalised = self._normalise(pixels)
        return self.model.forward_head(self.model.forward_features(normalised), pre_logits=True)

    def describe(self, pixels: Pixels, views: Sequence[FeatureSpec]) -> list[Float[torch.Tensor, "b d"]]:
        """Every view of the same images: one forward pass for the last layer's, one for all earlier ones'.

        Raises:
            CheckpointError: the architecture does not give the layer asked for.
            ValueError: pixels outside [0, 1].
        """
        normalised = self._normalise(pixels)
        found: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}
        last = self.model.forward_features(normalised) if any(v.layer == 0 for v in views) else None
        if last is not None and not all(view.is_own for view in views):
            found[0] = self._places(last)
        if earlier := sorted({view.layer for view in views} - {0}):
            found.update(self._earlier(normalised, earlier))
        return [
            self.model.forward_head(last, pre_logits=True) if view.is_own else view.pool(*found[view.layer])
            for view in views
        ]

    def _places(self, last: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What `forward_features` gives, as places [b, n, d] and class token [b, d]."""
        if last.ndim == 2:
            return last[:, None], None
        if last.ndim == 3:
            num_prefix = getattr(self.model, "num_prefix_tokens", 0)
            return last[:, num_prefix:], last[:, 0] if self._has_class_token else None
        is_channels_last = str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC")
        return last.flatten(1, 2) if is_channels_last else last.flatten(2).transpose(1, 2), None

    @property
    def _has_class_token(self) -> bool:
        return getattr(self.model, "cls_token", None) is not None

    def _earlier(
        self, normalised: torch.Tensor, layers: Sequence[int]
    ) -> dict[int, tuple[torch.Tensor, torch.Tensor | None]]:
        options: dict[str, Any] = {"return_prefix_tokens": True} if self._has_class_token else {}
        try:
            maps = self.model.forward_intermediates(
                normalised, indices=layers[-1] + 1, intermediates_only=True, **options
            )
        except (AttributeError, TypeError, AssertionError) as error:
            raise CheckpointError(
                f"{self.info.name!r} gives no layer {layers[-1]} before the last ({error}); take layer 0."
            ) from error
        found = {}
        for layer in layers:
            value = maps[-1 - layer]
            places, prefix = value if isinstance(value, tuple) else (value, None)
            found[layer] = places.flatten(2).transpose(1, 2), None if prefix is None else prefix[:, 0]
        return found

    def classify(self, pixels: Pixels) -> Float[torch.Tensor, "b c"]:
        """Logits of the head the checkpoint came with; only where `has_head`."""
        if not self.has_head:
            raise ValueError(
                f"{self.info.name} was loaded without its head; pass keep_head=True to load_backbone."
            )
        return self.model(self._normalise(pixels))

    def _normalise(self, pixels: Pixels) -> Pixels:
        low, high = torch.aminmax(pixels.detach())
        # Written so that NaN, which compares false with everything, is refused too.
        if not (low >= -PIXEL_TOLERANCE and high <= 1 + PIXEL_TOLERANCE):
            raise ValueError(
                f"pixels must lie in [0, 1], got [{float(low):.3g}, {float(high):.3g}]; pass unnormalised "
                "images (normalisation belongs to the backbone)."
            )
        return (pixels.contiguous(memory_format=torch.channels_last) - self._mean) / self._std

    def freeze(self) -> "Backbone":
        """Evaluation mode and no gradients for weights, for good: `train()` no longer reaches batch norm."""
        self._is_frozen = True
        self.requires_grad_(False)
        return self.train(False)

    @contextmanager
    def frozen(self) -> Iterator["Backbone"]:
        """Frozen inside the block; modes and gradients are as before afterwards."""
        before = [(p, p.requires_grad) for p in self.parameters()]
        modes = [(m, m.training) for m in self.modules()]
        was_frozen = self._is_frozen
        self.freeze()
        try:
            yield self
        finally:
            self._is_frozen = was_frozen
            for parameter, requires_grad in before:
                parameter.requires_grad_(requires_grad)
            for module, mode in modes:
                module.training = mode

    def train(self, mode: bool = True) -> "Backbone":
        """As torch's, but without effect on a frozen backbone: its statistics must not move."""
        super().train(mode and not self._is_frozen)
        return self

    def _classifiers(self) -> list[nn.Module]:
        found = self.model.get_classifier()
        return [
            m for m in (found if isinstance(found, (tuple, list)) else [found]) if isinstance(m, nn.Module)
        ]

    def _measure_num_features(self) -> int:
        """timm's `head_hidden_size` where it is stated; it is wrong for no model with a plain pooled head."""
        size = getattr(self.model, "head_hidden_size", None) or self.model.num_features
        return int(size)
