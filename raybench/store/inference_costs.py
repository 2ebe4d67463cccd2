"""What a forward pass costs: one record per checkpoint and way of running it, under `STORAGE/costs/`.

A table of its own, because timings differ from run to run: the measurement table stays equal to the last bit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from raybench.core.errors import StorageError
from raybench.core.records import Direction, digest_of
from raybench.store.files import StoragePath, glob_sorted, map_concurrently, read_bytes, write_atomic
from raybench.store.layout import costs_dir

SCHEMA_VERSION = 1

DIRECTIONS: Mapping[str, Direction] = {
    "flops_g": "min",
    "images_per_second": "max",
    "latency_ms": "min",
    "peak_memory_mib": "min",
}
"""Column of a measured cost → which way is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceCost:
    """What one backbone costs on one machine, run in one way. Without any head, in evaluation mode."""

    backbone: str
    """Catalogue name; two names of one checkpoint share a record."""
    checkpoint_digest: str
    hardware: str
    """The GPU's name, or the CPU's with its number of threads."""
    input_size: int
    """Side of the square input, pixels."""
    batch_size: int
    """Of throughput and memory; latency is that of a batch of one."""
    dtype: str
    """Of weights and inputs: `float32` or `bfloat16`."""
    num_params: int
    flops_g: float
    """Billions of floating-point operations per image, a multiplication and an addition counted as two; those
    of matrix products, convolutions and attention. What works element by element is not counted."""
    images_per_second: float
    """Batch size over the median time of a timed batch."""
    images_per_second_low: float
    images_per_second_high: float
    """The same over the third and the first quartile: half of the timed batches lie between."""
    latency_ms: float
    """Median time of a batch of one image, milliseconds."""
    peak_memory_mib: float
    """Most that torch's allocator had given out at once, weights and the batch included, MiB; Python, its
    libraries and their workspaces come on top."""
    num_batches: int
    """How many batches were timed after the warm-up."""
    versions: Mapping[str, str]

    @property
    def identity(self) -> tuple[str, str, int, int, str]:
        """What tells two costs apart; measuring again replaces."""
        return (self.checkpoint_digest, self.hardware, self.input_size, self.batch_size, self.dtype)


def cost_file(storage: StoragePath, identity: Sequence[object]) -> StoragePath:
    """Where the cost of that identity lies or would lie."""
    return costs_dir(storage) / f"{digest_of(list(identity))}.json"


def write_cost(storage: StoragePath, cost: InferenceCost) -> None:
    """Keep a cost, whole or not at all, in the place of an earlier one of the same identity.

    Raises:
        StorageUnavailableError: if the storage cannot be written.
    """
    content = json.dumps({"schema": SCHEMA_VERSION, **asdict(cost)}, indent=1).encode()
    write_atomic(cost_file(storage, cost.identity), lambda file: file.write(content))


def read_costs(storage: StoragePath) -> list[InferenceCost]:
    """Every cost kept in a storage, by backbone and identity; empty if none was measured.

    Raises:
        StorageError: if one cannot be read; `raybench cost` measures it again once it is removed.
    """
    costs = map_concurrently(_read_cost, glob_sorted(costs_dir(storage), "*.json"), storage)
    return sorted(costs, key=lambda cost: (cost.backbone, cost.identity))


def _read_cost(path: StoragePath) -> InferenceCost:
    try:
        content = json.loads(read_bytes(path))
        return InferenceCost(**{field.name: content[field.name] for field in fields(InferenceCost)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"cannot read {str(path)!r} ({type(error).__name__}: {error}); remove it and run "
            "`raybench cost` again."
        ) from error
