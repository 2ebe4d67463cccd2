"""Weight files: read without running code, loaded key by key."""

import hashlib
import pickle
import time
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError

StateDict = dict[str, torch.Tensor]
PACKAGE_PREFIX = "package:"
MINI_WEIGHTS = Path(__file__).parent / "mini" / "weights"
"""Folder that `package:` in a checkpoint path stands for."""
CLOCK_RESOLUTION_NS = 2 * 10**9
"""Coarsest modification times of a common file system (FAT): 2 s."""
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Key prefixes added by DistributedDataParallel, torch.compile and Lightning."""


def checkpoint_path(info: BackboneInfo) -> Path:
    """Path of the weights of a `weights="file"` row.

    Raises:
        CheckpointError: no path is given, or there is no such file.
    """
    if info.checkpoint is None:
        raise CheckpointError(
            f"backbone {info.name!r} takes its weights from a file, but `checkpoint` is not set."
        )
    if info.checkpoint.startswith(PACKAGE_PREFIX):
        path = MINI_WEIGHTS / info.checkpoint.removeprefix(PACKAGE_PREFIX)
    else:
        path = Path(info.checkpoint).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"backbone {info.name!r}: there is no weight file {str(path)!r}; check `checkpoint`."
        )
    return path


def file_digest(path: Path) -> str:
    """SHA-256 of a file, cached by its size and modification time.

    A file that was modified just now is not cached: overwriting it within the resolution of the file system's
    clock would leave its modification time unchanged.
    """
    stat = path.stat()
    is_recent = time.time_ns() - stat.st_mtime_ns < CLOCK_RESOLUTION_NS
    digest = _file_digest.__wrapped__ if is_recent else _file_digest
    return digest(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_digest(path: str, size: int, modified_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_dict_digest(state_dict: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for key in sorted(state_dict):
        tensor = state_dict[key].detach().cpu().contiguous()
        digest.update(f"{key}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict from safetensors or a torch file; pickled code is refused, never run.

    The wrapper of a training checkpoint (`state_dict`, `model`) and a prefix of all keys (`module.`) are
    removed.

    Raises:
        CheckpointError: it cannot be read, holds more than tensors, or holds two sets of weights.
    """
    if path.suffix == ".safetensors":
        try:
            return _without_prefix(load_file(path))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{str(path)!r} cannot be read as safetensors ({error}).") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} is not a plain state dict: it is damaged, or holds pickled objects, which could "
            "run code and are refused. Save `model.state_dict()` with safetensors instead."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read as a torch state dict ({error}).") from error
    return _without_prefix(_unwrap(content, path))


def _unwrap(content: object, path: Path) -> StateDict:
    if isinstance(content, dict):
        wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), dict)]
        if len(wrapped) > 1:
            raise CheckpointError(
                f"{str(path)!r} holds {len(wrapped)} sets of weights ({', '.join(wrapped)}); which one is "
                "measured must not be a guess. Save the one you mean to a file of its own."
            )
        tensors = content[wrapped[0]] if wrapped else content
        if tensors and all(isinstance(value, torch.Tensor) for value in tensors.values()):
            return dict(tensors)
    raise CheckpointError(
        f"{str(path)!r} holds no state dict: expected tensors by name, got {_describe(content)}."
    )


def _describe(content: object) -> str:
    if isinstance(content, dict):
        return f"a dict with {', '.join(repr(key) for key in list(content)[:4]) or 'nothing in it'}"
    return f"a {type(content).__name__}"


def _without_prefix(state_dict: StateDict) -> StateDict:
    for prefix in _PREFIXES:
        if state_dict and all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def load_strictly(model: nn.Module, state_dict: StateDict, classifiers: Collection[str], name: str) -> None:
    """Load `state_dict` into `model`, dropping nothing but a classifier that `model` does not have.

    Tensors are converted to the model's own types, so a float16 file gives a float32 model.

    Raises:
        CheckpointError: keys are missing or left over, shapes differ, or weights are not finite; with names.
    """
    expected = model.state_dict()
    surplus = [k for k in state_dict if k not in expected and not _belongs_to(k, classifiers)]
    missing = [k for k in expected if k not in state_dict]
    misshapen = [
        f"{k} {tuple(state_dict[k].shape)} for {tuple(expected[k].shape)}"
        for k in expected
        if k in state_dict and state_dict[k].shape != expected[k].shape
    ]
    problems = [
        ("not in the file", missing),
        ("unknown to the model", surplus),
        ("of another shape", misshapen),
    ]
    if any(keys for _, keys in problems):
        details = "; ".join(f"{len(keys)} {what}: {_first_names(keys)}" for what, keys in problems if keys)
        raise CheckpointError(
            f"the weights of {name!r} do not fit its architecture ({details}); check `timm` and `kwargs`."
        )
    weights = {key: state_dict[key] for key in expected}
    broken = [k for k, v in weights.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if broken:
        raise CheckpointError(
            f"the weights of {name!r} are not finite in {len(broken)} tensors: {_first_names(broken)}."
        )
    model.load_state_dict(weights, strict=True)


def _belongs_to(key: str, classifiers: Collection[str]) -> bool:
    return any(key.startswith(f"{classifier}.") for classifier in classifiers)


def _first_names(keys: list[str]) -> str:
    return ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")
