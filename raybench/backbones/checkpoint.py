"""Weight files: where they are, their identity, and loading them key by key."""

import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from raybench.backbones.state_dict_file import StateDict
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError

PACKAGE_PREFIX = "package:"
MINI_WEIGHTS = Path(__file__).parent / "mini" / "weights"
"""Folder that `package:` in a checkpoint path stands for."""
CLOCK_RESOLUTION_NS = 2 * 10**9
"""Coarsest modification times of a common file system (FAT): 2 s."""


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


def load_strictly(
    model: nn.Module, state_dict: StateDict, name: str, find_head_keys: Callable[[], Collection[str]]
) -> None:
    """Load `state_dict` into `model`, dropping nothing but a classifier that `model` does not have.

    Tensors are converted to the model's own types, so a float16 file gives a float32 model. Counters of batch
    norm (`num_batches_tracked`) may be missing: features do not depend on them.

    Args:
        find_head_keys: gives the keys of the classifier; called only if there are keys that `model` lacks.

    Raises:
        CheckpointError: keys are missing or left over, shapes or kinds of numbers differ, or weights are not
            finite or all constant; with names.
    """
    expected = model.state_dict()
    counters = {k: v for k, v in expected.items() if _is_counter(k) and k not in state_dict}
    state_dict = {**state_dict, **counters}
    surplus = [k for k in state_dict if k not in expected]
    if surplus:
        head_keys = find_head_keys()
        surplus = [k for k in surplus if k not in head_keys]
    _check_fit(expected, state_dict, surplus, name)
    weights = {key: state_dict[key] for key in expected}
    _check_values(weights, expected, name)
    model.load_state_dict(weights, strict=True)


def _check_fit(expected: StateDict, state_dict: StateDict, surplus: list[str], name: str) -> None:
    """Check keys and shapes."""
    misshapen = [
        f"{k} {tuple(state_dict[k].shape)} for {tuple(expected[k].shape)}"
        for k in expected
        if k in state_dict and state_dict[k].shape != expected[k].shape
    ]
    problems = [
        ("not in the file", [k for k in expected if k not in state_dict]),
        ("unknown to the model", surplus),
        ("of another shape", misshapen),
    ]
    if any(keys for _, keys in problems):
        details = "; ".join(f"{len(keys)} {what}: {_first_names(keys)}" for what, keys in problems if keys)
        raise CheckpointError(
            f"the weights of {name!r} do not fit its architecture ({details}); check `timm` and `kwargs`."
        )


def _check_values(weights: StateDict, expected: StateDict, name: str) -> None:
    """Check kinds of numbers and values."""
    wrong = [
        f"{k} {_kind(weights[k])} for {_kind(expected[k])}"
        for k in expected
        if not _is_counter(k) and _kind(weights[k]) != _kind(expected[k])
    ]
    if wrong:
        raise CheckpointError(
            f"the weights of {name!r} are of the wrong kind in {len(wrong)} tensors: {_first_names(wrong)}; "
            "raybench measures floating-point weights of 16 bits or more. Save those that were trained, "
            "before any quantisation."
        )
    broken = [k for k, v in weights.items() if not torch.isfinite(v.to(expected[k].dtype)).all()]
    if broken:
        raise CheckpointError(
            f"the weights of {name!r} are not finite in {len(broken)} tensors: {_first_names(broken)}."
        )
    negative = [k for k, v in weights.items() if k.endswith("running_var") and (v < 0).any()]
    if negative:
        raise CheckpointError(
            f"the weights of {name!r} hold negative variances of batch norm in {len(negative)} tensors: "
            f"{_first_names(negative)}."
        )
    matrices = [v for v in weights.values() if v.is_floating_point() and v.ndim > 1 and v.numel() > 1]
    constants = [float(v.flatten()[0]) for v in matrices if (v == v.flatten()[0]).all()]
    # One small matrix may be constant for a reason, e.g. a fixed blur.
    if constants and len(constants) == len(matrices) and (len(matrices) > 1 or constants == [0.0]):
        raise CheckpointError(
            f"the weights of {name!r} hold no information: every matrix is constant (the first is "
            f"{constants[0]:g} throughout). Was the file saved before training?"
        )


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _kind(tensor: torch.Tensor) -> str:
    """What a tensor's numbers are: `float` (16 bits or more), `whole number`, or its own type's name."""
    if tensor.is_quantized or (tensor.is_floating_point() and tensor.itemsize < 2):
        return f"quantised ({_dtype_name(tensor)})"
    if tensor.layout != torch.strided:
        return f"sparse ({_dtype_name(tensor)})"
    if tensor.is_floating_point():
        return "float"
    is_whole = tensor.dtype != torch.bool and not tensor.is_complex()
    return "whole number" if is_whole else _dtype_name(tensor)


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _first_names(keys: list[str]) -> str:
    return ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")
