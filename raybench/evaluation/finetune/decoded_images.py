"""Resized images of a split, decoded once if they fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.core.preprocessing import Preprocessing
from raybench.data.batches import batches
from raybench.data.cropping import fit_to_square

if TYPE_CHECKING:
    from raybench.data.dataset import Examples

MAX_DECODED_BYTES = 2 * 2**30
"""A split whose resized images take more than 2 GiB (14 000 at 224 pixels) is decoded anew every epoch."""


class DecodedImages:
    """Batches of a split in any order, as float32 pixels in [0, 1]."""

    def __init__(
        self,
        examples: Examples,
        preprocessing: Preprocessing,
        *,
        num_threads: int,
        max_bytes: int = MAX_DECODED_BYTES,
    ) -> None:
        self._examples = examples
        self._preprocessing = preprocessing
        self._num_threads = num_threads
        side = preprocessing.input_size
        self.is_held = len(examples) * side * side * 3 <= max_bytes
        """Whether the images are in memory, as bytes."""
        self._images = np.empty((len(examples), side, side, 3), np.uint8) if self.is_held else None
        if self._images is not None:
            self._decode_into(self._images)

    def __len__(self) -> int:
        return len(self._examples)

    def batches(
        self, order: Int[np.ndarray, " k"], batch_size: int, device: torch.device
    ) -> Iterator[Float[torch.Tensor, "b 3 s s"]]:
        """The examples at `order`, batch by batch; the last batch may be smaller."""
        if self._images is None:
            yield from batches(
                self._examples.take(order),
                self._preprocessing,
                batch_size,
                num_threads=self._num_threads,
                device=device,
            )
            return
        for start in range(0, len(order), batch_size):
            # Bytes travel to the device, not floats.
            chosen = torch.from_numpy(self._images[order[start : start + batch_size]]).to(device)
            yield chosen.permute(0, 3, 1, 2).contiguous().float().div_(255)

    def _decode_into(self, images: np.ndarray) -> None:
        def decode(index: int) -> None:
            images[index] = fit_to_square(self._examples.image(index), self._preprocessing)

        with ThreadPoolExecutor(max_workers=self._num_threads) as pool:
            for _ in pool.map(decode, range(len(images))):
                pass
