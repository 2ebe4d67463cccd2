"""State dicts in files: read without running code, without the wrappers and prefixes of training tools."""

import pickle
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from raybench.core.errors import CheckpointError

StateDict = dict[str, torch.Tensor]
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Key prefixes added by DistributedDataParallel and AveragedModel, torch.compile, and Lightning."""
_AVERAGE_COUNTER = "n_averaged"
"""torch's AveragedModel (EMA, SWA) stores the number of averaged models under this key."""


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict from safetensors or a torch file; pickled code is refused, never run.

    The wrapper of a training checkpoint (`state_dict`, `model`), prefixes that all keys have (`module.`,
    `_orig_mod.`, `model.`, nested in any order) and the counter of averaged weights are removed.

    Raises:
        CheckpointError: it cannot be read, holds anything but named tensors with values, or holds two sets of
            weights.
    """
    content = _load_safetensors(path) if path.suffix.lower() == ".safetensors" else _load_torch(path)
    state_dict = _without_prefixes(_unwrap(content, path))
    if empty := [key for key, value in state_dict.items() if value.is_meta]:
        raise CheckpointError(
            f"{str(path)!r} holds {len(empty)} tensors without values, on the device 'meta': {empty[0]}; "
            "load the weights into the model before you save it."
        )
    return state_dict


def _load_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read as safetensors ({error}).") from error


def _load_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings(action="ignore"):  # Of torch's own code, on files of earlier versions.
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} is not a plain state dict: it is damaged, or holds pickled objects, which could "
            "run code and are refused. Save `model.state_dict()` with safetensors instead."
        ) from error
    except (
        Exception
    ) as error:  # Text or damage makes torch's unpickler raise KeyError, IndexError and others.
        reason = (str(error).strip().splitlines() or ["no message"])[0][:200]
        raise CheckpointError(
            f"{str(path)!r} cannot be read as a torch state dict ({type(error).__name__}: {reason})."
        ) from error


def _unwrap(content: object, path: Path) -> StateDict:
    """The tensors by name, out of the wrappers of training checkpoints."""
    while isinstance(content, dict):
        wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), dict)]
        if len(wrapped) > 1:
            raise CheckpointError(
                f"{str(path)!r} holds {len(wrapped)} sets of weights ({', '.join(wrapped)}); which one is "
                "measured must not be a guess. Save the one you mean to a file of its own."
            )
        if not wrapped:
            break
        content = content[wrapped[0]]
    if isinstance(content, dict) and content and all(isinstance(v, torch.Tensor) for v in content.values()):
        if unnamed := [key for key in content if not isinstance(key, str)]:
            raise CheckpointError(
                f"{str(path)!r} holds tensors under {unnamed[0]!r}, which is no name; weights are found by "
                "the names that `model.state_dict()` gives them."
            )
        return dict(content)
    raise CheckpointError(
        f"{str(path)!r} holds no state dict: expected tensors by name, got {_describe(content)}."
    )


def _describe(content: object) -> str:
    if isinstance(content, dict):
        return f"a dict with {', '.join(f'{key!r:.40}' for key in list(content)[:4]) or 'nothing in it'}"
    return f"a {type(content).__name__}"


def _without_prefixes(state_dict: StateDict) -> StateDict:
    weights = {key: value for key, value in state_dict.items() if key != _AVERAGE_COUNTER}
    while prefix := next(
        (p for p in _PREFIXES if weights and all(key.startswith(p) for key in weights)), None
    ):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
        weights.pop(_AVERAGE_COUNTER, None)
    return weights
