"""Inference cost: one record per checkpoint, hardware, input size, batch size and dtype.

Kept apart from the measurement table, because timings differ from run to run and that table does not.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from raybench.core.errors import StorageError
from raybench.core.records import Direction, digest_of
from raybench.store.files import StoragePath, glob_sorted, map_concurrently, read_bytes, write_atomic
from raybench.store.files.sealed_json import seal, unseal
from raybench.store.layout import costs_dir

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1

DIRECTIONS: Mapping[str, Direction] = {
    "flops_g": "min",
    "images_per_second": "max",
    "latency_ms": "min",
    "peak_memory_mib": "min",
}
"""Cost metric → which direction is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceCost:
    """Cost of a backbone without head, in evaluation mode, on one machine."""

    backbone: str
    """Catalogue name; two names of one checkpoint share a record."""
    checkpoint_digest: str
    hardware: str
    """The GPU's name, or the CPU's with its number of threads."""
    input_size: int
    """Side of the square input, pixels."""
    batch_size: int
    """Images per batch for throughput and memory; latency is that of a batch of one."""
    dtype: str
    """Type of weights and inputs: `float32` or `bfloat16`."""
    num_params: int
    flops_g: float
    """Billions of floating-point operations per image in matrix products, convolutions and attention; a
    multiply-add counts as two. Element-wise operations are not counted."""
    images_per_second: float
    """Batch size divided by the median time of a batch."""
    images_per_second_low: float
    images_per_second_high: float
    """Throughput at the third and first quartile of batch times: half of the batches lie in between."""
    latency_ms: float
    """Median time of a batch of one image, milliseconds."""
    peak_memory_mib: float
    """Peak of torch's allocator, weights and batch included, MiB. Python and libraries
    come on top."""
    num_batches: int
    """Timed batches, after the warm-up."""
    versions: Mapping[str, str]

    @property
    def identity(self) -> tuple[str, str, int, int, str]:
        """Fields that identify a cost; measuring it again replaces it."""
        return (self.checkpoint_digest, self.hardware, self.input_size, self.batch_size, self.dtype)


def cost_file(storage: StoragePath, identity: Sequence[object]) -> StoragePath:
    """File of the cost with that identity."""
    return costs_dir(storage) / f"{digest_of(list(identity))}.json"


def write_cost(storage: StoragePath, cost: InferenceCost) -> None:
    """Write a cost, replacing an earlier one with the same identity.

    Raises:
        StorageUnavailableError: if the storage cannot be written.
    """
    content = json.dumps({"schema": SCHEMA_VERSION, **asdict(cost)}, indent=1).encode()
    write_atomic(cost_file(storage, cost.identity), lambda file: file.write(seal(content)))


def read_costs(storage: StoragePath) -> list[InferenceCost]:
    """All costs of a storage, sorted by backbone and identity; empty if none was measured.

    Raises:
        StorageError: if one cannot be read.
    """
    costs = map_concurrently(_read_cost, glob_sorted(costs_dir(storage), "*.json"), storage)
    return sorted(costs, key=lambda cost: (cost.backbone, cost.identity))


def _read_cost(path: StoragePath) -> InferenceCost:
    try:
        return _adapter().validate_json(unseal(read_bytes(path)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StorageError(
            f"cannot read {str(path)!r} ({reason}); remove it and run `raybench cost` again."
        ) from error


@functools.cache
def _adapter() -> "TypeAdapter[InferenceCost]":
    from pydantic import (
        TypeAdapter,  # Deferred: `raybench rank` starts without it where no cost was measured.
    )

    return TypeAdapter(InferenceCost)
