"""BackboneInfo → Backbone: built by timm, weights from timm, a file, or a seed."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import timm
import torch
from torch import nn

from raybench.backbones.backbone import Backbone
from raybench.backbones.checkpoint import (
    StateDict,
    checkpoint_path,
    file_digest,
    load_strictly,
    read_state_dict,
    state_dict_digest,
)
from raybench.backbones.names import has_timm_weights
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError
from raybench.core.records import digest_of

RESERVED = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "in_chans"}
)
"""timm's arguments that decide about weights; a row does so by `weights` and `checkpoint` alone."""


def load_backbone(
    info: BackboneInfo,
    *,
    device: torch.device | str = "cpu",
    keep_head: bool = False,
    drop_path: float | None = None,
) -> Backbone:
    """Build a backbone with its weights, in evaluation mode, float32.

    Args:
        keep_head: keep the classifier the weights came with (for `Backbone.classify`).
        drop_path: stochastic depth for fine-tuning, in [0, 1); ignored by architectures that have none.

    Raises:
        CheckpointError: weights are missing, cannot be had, or do not fit; keys are named. Never are random
            weights left in the place of pretrained ones.
        UnknownNameError: timm does not know the architecture.
    """
    _check_kwargs(info)
    preprocessing = preprocessing_of(info)
    kwargs = dict(info.kwargs)
    if drop_path is not None:
        kwargs["drop_path_rate"] = drop_path
    model: Any = _WEIGHTS[info.weights](info, kwargs, keep_head)
    _check_input_size(model, info, preprocessing.input_size)
    digest = checkpoint_digest(info) if info.weights != "timm" else _timm_digest(info, model.state_dict())
    if info.weights == "timm" and not keep_head:
        model.reset_classifier(0)
    backbone = Backbone(model, info, preprocessing, digest=digest, has_head=keep_head)
    # Channels last: on one CPU core 1.3 to 1.7 times as fast for convolutions, and the same for transformers.
    return backbone.eval().to(device).to(memory_format=torch.channels_last)


def checkpoint_digest(info: BackboneInfo) -> str:
    """Identity of architecture and weights, 16 hexadecimal digits; the name does not enter.

    A file's is that of its bytes; a random initialisation's that of its seed and of the versions that draw
    it; timm's that of its tensors, for which the model is loaded once per process.
    """
    architecture = [info.timm, dict(info.kwargs)]
    if info.weights == "file":
        return digest_of([*architecture, "file", file_digest(checkpoint_path(info))])
    if info.weights == "random":
        return digest_of([*architecture, "random", info.init_seed, timm.__version__, torch.__version__])
    key = digest_of(architecture)
    if key not in _TIMM_DIGESTS:
        load_backbone(info)
    return _TIMM_DIGESTS[key]


_TIMM_DIGESTS: dict[str, str] = {}


def _timm_digest(info: BackboneInfo, state_dict: Mapping[str, torch.Tensor]) -> str:
    architecture = [info.timm, dict(info.kwargs)]
    key = digest_of(architecture)
    if key not in _TIMM_DIGESTS:
        _TIMM_DIGESTS[key] = digest_of([*architecture, "timm", state_dict_digest(state_dict)])
    return _TIMM_DIGESTS[key]


def _from_timm(info: BackboneInfo, kwargs: Mapping[str, Any], keep_head: bool) -> nn.Module:
    """timm's pretrained model with its own head: with another class count timm would load non-strictly."""
    if not has_timm_weights(info.timm):
        raise CheckpointError(
            f"timm has no pretrained weights for {info.timm!r}, and a random initialisation is not passed "
            f"off as pretrained; ask for {info.timm + '.random'!r}, or give a `checkpoint`."
        )
    try:
        return _create(info, {k: v for k, v in kwargs.items() if k != "num_classes"}, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the pretrained weights of {info.timm!r} cannot be had from the hub ({type(error).__name__}: "
            f"{_first_line(error)}); check the network, or download them and give their `checkpoint`."
        ) from error


def _from_file(info: BackboneInfo, kwargs: Mapping[str, Any], keep_head: bool) -> nn.Module:
    state_dict = read_state_dict(checkpoint_path(info))
    classifiers = classifier_names(info)
    num_classes = _num_classes(state_dict, classifiers) if keep_head else 0
    if num_classes is None:
        raise CheckpointError(
            f"the weights of {info.name!r} hold no classifier ({' or '.join(classifiers)}), so there is no "
            "head to keep."
        )
    model = _create(info, {**kwargs, "num_classes": num_classes}, pretrained=False)
    load_strictly(model, state_dict, classifiers, info.name)
    return model


def _from_seed(info: BackboneInfo, kwargs: Mapping[str, Any], keep_head: bool) -> nn.Module:
    if keep_head:
        raise CheckpointError(
            f"{info.name!r} is randomly initialised; a head that was never trained is not kept."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(info.init_seed)
        return _create(info, {**kwargs, "num_classes": 0}, pretrained=False)


_WEIGHTS = {"timm": _from_timm, "file": _from_file, "random": _from_seed}


def _create(info: BackboneInfo, kwargs: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
    try:
        return timm.create_model(info.timm, pretrained=pretrained, **kwargs)
    except TypeError as error:
        if "drop_path_rate" in kwargs and "drop_path_rate" in str(error):
            return _create(
                info, {k: v for k, v in kwargs.items() if k != "drop_path_rate"}, pretrained=pretrained
            )
        raise CheckpointError(f"timm cannot build {info.timm!r} with {dict(kwargs)}: {error}") from error


def _check_kwargs(info: BackboneInfo) -> None:
    if reserved := sorted(RESERVED & set(info.kwargs)):
        raise CheckpointError(
            f"backbone {info.name!r}: `kwargs` may not hold {reserved[0]!r}; where weights come from is said "
            "by `checkpoint`, and `NAME.random` asks for none."
        )


def _check_input_size(model: nn.Module, info: BackboneInfo, input_size: int) -> None:
    """Fail at loading, not in the first batch, where an architecture takes one size only."""
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


@lru_cache(maxsize=256)
def _classifier_names(timm_name: str) -> tuple[str, ...]:
    config = timm.get_pretrained_cfg(timm_name)
    names = (config.classifier if config else None) or ()
    return (names,) if isinstance(names, str) else tuple(names)


def classifier_names(info: BackboneInfo) -> tuple[str, ...]:
    """timm's names of the classifier modules: `fc`, `head.fc`, or two for distilled models."""
    return _classifier_names(info.timm)


def _num_classes(state_dict: StateDict, classifiers: tuple[str, ...]) -> int | None:
    """Rows of the classifier's weight, None where the file has no classifier."""
    for name in classifiers:
        if f"{name}.weight" in state_dict:
            return int(state_dict[f"{name}.weight"].shape[0])
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]
