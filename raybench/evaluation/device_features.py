"""Stored features on the device that trains on them: all of them, or block by block if they are too many.

On the CPU the store's memory map is used as it is. On a GPU, features beyond half of the trial's share of its
memory stay in the map: a thread reads the next block into pinned memory while the GPU works on the present
one. Both ways give the same values.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.evaluation.feature_norm import Features, resident

RESIDENT_SHARE = 0.5
"""Part of the process's GPU memory that one split's features may take; the rest holds heads and logits."""
STREAMED_BYTES = 2**26
"""Largest block that is read at once."""


def resident_limit(device: torch.device) -> int | None:
    """Bytes of features that may lie on the device; None (the map is read in place) for the CPU."""
    if device.type != "cuda":
        return None
    total = torch.cuda.get_device_properties(device).total_memory
    return int(total * torch.cuda.get_per_process_memory_fraction(device) * RESIDENT_SHARE)


class DeviceFeatures:
    """Rows of stored features [n, d] as float32 tensors on a device."""

    def __init__(self, features: Features, device: torch.device) -> None:
        self.shape = features.shape
        self.device = device
        limit = resident_limit(device)
        self._stored = features
        num_bytes = 4 * features.shape[0] * features.shape[1]
        self._resident = resident(features, device) if limit is None or num_bytes <= limit else None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_streamed(self) -> bool:
        """Whether rows are read from the store each time."""
        return self._resident is None

    def blocks(self, num_rows: int) -> Iterator[tuple[slice, Float[torch.Tensor, "b d"]]]:
        """(Part, rows) of all features in order, at most `num_rows` at a time. Do not write to the rows."""
        resident_rows = self._resident
        if resident_rows is None:
            num_rows = min(num_rows, max(1, STREAMED_BYTES // (4 * self.shape[1])))
        parts = [slice(start, start + num_rows) for start in range(0, len(self), max(1, num_rows))]
        if resident_rows is not None:
            yield from ((part, resident_rows[part]) for part in parts)
            return
        reads = [lambda part=part: self._stored[part] for part in parts]
        yield from zip(parts, self._staged(reads), strict=True)

    def batches(self, batches: Sequence[Int[torch.Tensor, " b"]]) -> Iterator[Float[torch.Tensor, "b d"]]:
        """The rows of one batch of indices (on the CPU) after the other; each may be written to."""
        resident_rows = self._resident
        if resident_rows is not None:
            yield from (resident_rows[batch.to(self.device)] for batch in batches)
            return
        reads = [lambda batch=batch: self._stored[batch.numpy()] for batch in batches]
        yield from self._staged(reads)

    def _staged(self, reads: Sequence[Callable[[], Features]]) -> Iterator[torch.Tensor]:
        """Copies on the device; the next block is read while the caller uses this one."""
        with ThreadPoolExecutor(max_workers=1) as reader:
            pending = reader.submit(self._read, reads[0]) if reads else None
            for following in [*reads[1:], None]:
                if pending is None:
                    return
                rows = pending.result()
                pending = reader.submit(self._read, following) if following else None
                # torch reuses the pinned block only after the copy has ended.
                yield rows.to(self.device, non_blocking=True)

    def _read(self, read: Callable[[], Features]) -> torch.Tensor:
        rows = torch.from_numpy(np.array(read(), dtype=np.float32))
        return rows.pin_memory() if self.device.type == "cuda" else rows
