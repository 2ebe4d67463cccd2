"""Images → pixel tensors in [0, 1]: timm's evaluation transform without its normalisation."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from raybench.catalog.feature_settings import Resize
from raybench.core.preprocessing import Preprocessing
from raybench.data.cropping import fit_to_square
from raybench.data.dataset import Examples

MIN_BATCHES_AHEAD = 2
"""Batches decoded ahead of the consumer, or one per decoding thread if that is more."""


def batches(
    examples: Examples,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    num_threads: int | None = None,
    device: torch.device | str = "cpu",
    resize: Resize = "exact",
) -> Iterator[Float32[torch.Tensor, "b 3 s s"]]:
    """Yield all examples in order as float32 pixels in [0, 1]; the last batch may be smaller.

    Batches are channels-last in memory. Threads decode ahead (PIL releases the interpreter lock). Memory is
    bounded: besides the batch yielded, one batch of bytes per thread and at least MIN_BATCHES_AHEAD.

    Args:
        num_threads: decoding threads; None takes as many as torch computes with.
        device: of the batches; they are moved there as bytes and converted to floats on it.
        resize: see `fit_to_square`.

    Raises:
        UnreadableImageError: an image cannot be decoded; the message names it.
    """
    size = preprocessing.input_size
    starts = range(0, len(examples), batch_size)

    def fill(start: int) -> UInt8[np.ndarray, "b s s 3"]:
        stop = min(start + batch_size, len(examples))
        filled = np.empty((stop - start, size, size, 3), dtype=np.uint8)
        for row, index in enumerate(range(start, stop)):
            filled[row] = fit_to_square(examples.image(index), preprocessing, resize)
        return filled

    workers = num_threads or torch.get_num_threads()
    num_ahead = max(workers, MIN_BATCHES_AHEAD)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        pending: deque[Future[UInt8[np.ndarray, "b s s 3"]]] = deque()
        remaining = iter(starts)
        try:
            for _ in starts:
                while len(pending) < num_ahead and (start := next(remaining, None)) is not None:
                    pending.append(pool.submit(fill, start))
                images = torch.from_numpy(pending.popleft().result()).to(device)
                yield images.permute(0, 3, 1, 2).to(torch.float32).div_(255)
        finally:
            for future in pending:
                future.cancel()
