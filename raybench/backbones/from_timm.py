"""Backbones built by timm."""

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from torch import nn

from raybench.backbones.backbone import Backbone, Features, Images
from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.names import has_timm_weights
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError
from raybench.core.preprocessing import Preprocessing

RESERVED = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "in_chans"}
)
"""timm arguments that choose weights; rows use `weights` and `checkpoint` instead."""
LayerTokens = tuple[torch.Tensor, torch.Tensor | None]
"""Tokens of a layer [b, n, d] (patches or positions of its feature map) and the class token [b, d]."""


class TimmBackbone(Backbone):
    """A timm model."""

    def __init__(
        self, model: nn.Module, info: BackboneInfo, preprocessing: Preprocessing, *, digest: str
    ) -> None:
        super().__init__(model, info, preprocessing, digest=digest)
        _check_input_size(model, info, preprocessing.input_size)

    @classmethod
    def create(cls, info: BackboneInfo, kwargs: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        """Build the model; `num_classes` is ignored for pretrained ones, which timm would load non-strictly.

        Raises:
            CheckpointError: timm refuses an argument, has no weights of this name, or cannot reach the hub.
        """
        if reserved := sorted(RESERVED & set(info.kwargs)):
            raise CheckpointError(
                f"backbone {info.name!r}: `kwargs` may not hold {reserved[0]!r}; where weights come from is "
                "said by `checkpoint`, and `NAME.random` asks for none."
            )
        if not pretrained:
            return _create(info.timm, kwargs, pretrained=False)
        if not has_timm_weights(info.timm):
            raise CheckpointError(
                f"timm has no pretrained weights for {info.timm!r}, and a random initialisation is not "
                f"passed off as pretrained; ask for {info.timm + '.random'!r}, or give a `checkpoint`."
            )
        try:
            return _create(info.timm, _without("num_classes", kwargs), pretrained=True)
        except (OSError, RuntimeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or ["no message"])[0][:200]
            raise CheckpointError(
                f"the pretrained weights of {info.timm!r} cannot be had from the hub "
                f"({type(error).__name__}: {reason}); check the network, or download them and give their "
                "`checkpoint`."
            ) from error

    @classmethod
    def classifier_names(cls, info: BackboneInfo) -> tuple[str, ...]:
        """timm's names of the classifier modules: `fc`, `head.fc`, or two for distilled models."""
        config = timm.get_pretrained_cfg(info.timm)
        names = (config.classifier if config else None) or ()
        return (names,) if isinstance(names, str) else tuple(names)

    def drop_head(self) -> None:
        self.model.reset_classifier(0)

    @property
    def num_features(self) -> int:
        """Width of the head's input: the model's `head_hidden_size` if it has one, else `num_features`."""
        return int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)

    @property
    def head(self) -> nn.Module | None:
        """timm's classifier; a `ModuleList` of two for distilled models."""
        classifier = self.model.get_classifier()
        if isinstance(classifier, (tuple, list)):
            return nn.ModuleList(classifier)
        return None if isinstance(classifier, nn.Identity) else classifier

    def _pooled(self, images: Images) -> Features:
        return self.model.forward_head(self.model.forward_features(images), pre_logits=True)

    def _extract(self, images: Images, specs: Sequence[FeatureSpec]) -> list[Features]:
        """One forward pass for the last layer, one for all earlier ones."""
        tokens: dict[int, LayerTokens] = {}
        last = self.model.forward_features(images) if any(spec.layer == 0 for spec in specs) else None
        if last is not None and not all(spec.is_pooled_output for spec in specs):
            tokens[0] = self._last_tokens(last)
        if earlier := sorted({spec.layer for spec in specs} - {0}):
            tokens.update(self._earlier_tokens(images, earlier))
        return [
            self.model.forward_head(last, pre_logits=True)
            if spec.is_pooled_output
            else spec.pool(*tokens[spec.layer])
            for spec in specs
        ]

    def _last_tokens(self, last: torch.Tensor) -> LayerTokens:
        """Tokens in the output of `forward_features`, whatever its layout."""
        if last.ndim == 2:
            return last[:, None], None
        if last.ndim == 3:
            num_prefix = getattr(self.model, "num_prefix_tokens", 0)
            return last[:, num_prefix:], last[:, 0] if self._has_class_token else None
        is_channels_last = str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC")
        return last.flatten(1, 2) if is_channels_last else last.flatten(2).transpose(1, 2), None

    def _earlier_tokens(self, images: Images, layers: Sequence[int]) -> dict[int, LayerTokens]:
        options: dict[str, Any] = {"return_prefix_tokens": True} if self._has_class_token else {}
        try:
            maps = self.model.forward_intermediates(
                images, indices=layers[-1] + 1, intermediates_only=True, **options
            )
        except (AttributeError, TypeError, AssertionError) as error:
            raise CheckpointError(
                f"{self.info.name!r} gives no layer {layers[-1]} before the last ({error}); take layer 0."
            ) from error
        tokens = {}
        for layer in layers:
            value = maps[-1 - layer]
            patches, prefix = value if isinstance(value, tuple) else (value, None)
            tokens[layer] = patches.flatten(2).transpose(1, 2), None if prefix is None else prefix[:, 0]
        return tokens

    @property
    def _has_class_token(self) -> bool:
        return getattr(self.model, "cls_token", None) is not None


def _create(name: str, kwargs: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **kwargs)
    except TypeError as error:
        if "drop_path_rate" in kwargs and "drop_path_rate" in str(error):
            return _create(name, _without("drop_path_rate", kwargs), pretrained=pretrained)
        raise CheckpointError(f"timm cannot build {name!r} with {dict(kwargs)}: {error}") from error


def _without(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != name}


def _check_input_size(model: nn.Module, info: BackboneInfo, input_size: int) -> None:
    """Refuse an input size that the architecture cannot take, before the first batch."""
    patch_embed = getattr(model, "patch_embed", None)
    fixed = getattr(patch_embed, "img_size", None)
    if fixed is None or not getattr(patch_embed, "strict_img_size", True):
        return
    if tuple(fixed) != (input_size, input_size):
        raise CheckpointError(
            f"backbone {info.name!r} is built for {fixed[0]}-pixel inputs but its preprocessing "
            f"gives {input_size}; set `kwargs: {{img_size: {input_size}}}` or "
            f"`preprocessing: {{input_size: {fixed[0]}}}`."
        )
