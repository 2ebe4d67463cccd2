"""Arithmetic of the forward passes that compute features."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from raybench.catalog.feature_settings import GPU_ONLY, Precision
from raybench.core.errors import ResourceError

_AUTOCAST: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@contextmanager
def forward_precision(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run forward passes inside the block in that precision; torch's settings are restored afterwards.

    Raises:
        ResourceError: the device lacks the precision.
    """
    if precision in GPU_ONLY and device.type != "cuda":
        raise ResourceError(
            f"`features.precision` is {precision}, which needs an NVIDIA GPU, but this trial runs on "
            f"{device.type}; take float32 or bfloat16, or run on a GPU."
        )
    if precision in _AUTOCAST:
        with torch.autocast(device.type, dtype=_AUTOCAST[precision]):
            yield
        return
    if precision == "float32":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
