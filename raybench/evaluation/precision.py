"""Floating-point type of matrix products."""

from contextlib import AbstractContextManager

import torch


def half_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 or float16 on a GPU, None (float32) on the CPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Compute products in `half_precision`; no effect on the CPU."""
    dtype = half_precision(device)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
