"""Load a backbone: network by timm or a row's entry point, weights from its origin, a file, or a seed."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from raybench.backbones.backbone import Backbone
from raybench.backbones.checkpoint import checkpoint_path, file_digest, load_strictly, state_dict_digest
from raybench.backbones.from_entry_point import ModuleBackbone
from raybench.backbones.from_timm import TimmBackbone
from raybench.backbones.preprocessing import preprocessing_of
from raybench.backbones.state_dict_file import StateDict, read_state_dict
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError
from raybench.core.records import digest_of


def load_backbone(
    info: BackboneInfo,
    *,
    device: torch.device | str = "cpu",
    keep_head: bool = False,
    drop_path: float | None = None,
) -> Backbone:
    """Build a backbone with its weights, in evaluation mode, float32; torch's random state stays as it was.

    Args:
        keep_head: keep the classifier that the checkpoint came with, as `Backbone.head`.
        drop_path: stochastic depth for fine-tuning, in [0, 1); ignored by architectures that have none.

    Raises:
        CheckpointError: weights are missing, not available, or do not fit; the message names the keys.
            Pretrained weights are never replaced by random ones.
        UnknownNameError: timm does not know the architecture.
    """
    preprocessing = preprocessing_of(info)
    adapter: type[Backbone] = ModuleBackbone if info.entry_point else TimmBackbone
    kwargs = {**info.kwargs, **({} if drop_path is None else {"drop_path_rate": drop_path})}
    with torch.random.fork_rng(devices=[]):  # Networks are initialised before their weights are loaded.
        model = _WEIGHTS[info.weights](adapter, info, kwargs, keep_head)
    backbone = adapter(model, info, preprocessing, digest=_digest(info, model))
    if not keep_head:
        backbone.drop_head()
    # Channels last: on one CPU core 1.3 to 1.7 times as fast for convolutions, and the same for transformers.
    return backbone.eval().to(device).to(memory_format=torch.channels_last)


def checkpoint_digest(info: BackboneInfo) -> str:
    """Digest of architecture and weights, 16 hexadecimal digits; independent of the row's name.

    Files are identified by their bytes, timm's random initialisations by the seed and the versions that draw
    them, all other weights by their tensors, for which the model is loaded once per process.
    """
    return _digest(info, None)


_TENSOR_DIGESTS: dict[str, str] = {}
"""Identity of the row's weights → digest, for the rows whose tensors this process has hashed."""


def _digest(info: BackboneInfo, model: nn.Module | None) -> str:
    """The row's digest; tensors are those of `model`, which is loaded if it is not given."""
    architecture = [info.entry_point or info.timm, dict(info.kwargs)]
    if info.weights == "file":
        return digest_of([*architecture, "file", file_digest(checkpoint_path(info))])
    if info.weights == "random" and not info.entry_point:
        return digest_of([*architecture, "random", info.init_seed, timm.__version__, torch.__version__])
    key = digest_of([*architecture, info.weights, info.init_seed])
    if key not in _TENSOR_DIGESTS:
        if model is None:
            load_backbone(info)
        else:
            tensors = state_dict_digest(model.state_dict())
            _TENSOR_DIGESTS[key] = digest_of([*architecture, info.weights, tensors])
    return _TENSOR_DIGESTS[key]


def _published(
    adapter: type[Backbone], info: BackboneInfo, kwargs: Mapping[str, Any], keep_head: bool
) -> nn.Module:
    return adapter.create(info, kwargs, pretrained=True)


def _from_file(
    adapter: type[Backbone], info: BackboneInfo, kwargs: Mapping[str, Any], keep_head: bool
) -> nn.Module:
    state_dict = read_state_dict(checkpoint_path(info))
    classifiers = adapter.classifier_names(info)
    num_classes = _num_classes(state_dict, classifiers) if keep_head else 0
    if num_classes is None:
        raise CheckpointError(
            f"the weights of {info.name!r} hold no classifier ({' or '.join(classifiers)}), so there is no "
            "head to keep."
        )
    model = adapter.create(info, {**kwargs, "num_classes": num_classes}, pretrained=False)

    def find_head_keys() -> set[str]:
        """Keys below the classifiers, and others that the network with a head has and without one lacks."""
        below = {key for key in state_dict if any(key.startswith(f"{name}.") for name in classifiers)}
        if keep_head or not classifiers:
            return set() if keep_head else below
        with torch.device("meta"):
            with_head = adapter.create(info, {**kwargs, "num_classes": 2}, pretrained=False)
        return below | (set(with_head.state_dict()) - set(model.state_dict()))

    load_strictly(model, state_dict, info.name, find_head_keys)
    return model


def _from_seed(
    adapter: type[Backbone], info: BackboneInfo, kwargs: Mapping[str, Any], keep_head: bool
) -> nn.Module:
    if keep_head:
        raise CheckpointError(
            f"{info.name!r} is randomly initialised; a head that was never trained is not kept."
        )
    torch.manual_seed(info.init_seed)
    return adapter.create(info, {**kwargs, "num_classes": 0}, pretrained=False)


_WEIGHTS = {"timm": _published, "entry_point": _published, "file": _from_file, "random": _from_seed}


def _num_classes(state_dict: StateDict, classifiers: tuple[str, ...]) -> int | None:
    """Rows of the classifier's weight; None where the file has no classifier."""
    for name in classifiers:
        weight = state_dict.get(f"{name}.weight")
        if weight is not None:
            if weight.ndim < 2 or not len(weight):
                raise CheckpointError(
                    f"the classifier {name}.weight has shape {list(weight.shape)}; a head has "
                    "[classes, features]."
                )
            return len(weight)
    return None
