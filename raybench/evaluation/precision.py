"""Which floating-point type products are computed in."""

from contextlib import AbstractContextManager

import torch


def half_precision(device: torch.device) -> torch.dtype | None:
    """What products are computed in: bfloat16 or float16 on a GPU, None (float32) on the CPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Half-precision products where `half_precision` names a type; nothing on the CPU."""
    dtype = half_precision(device)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
