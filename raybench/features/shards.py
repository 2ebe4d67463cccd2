"""Shards: ranges of an entry's rows that are computed one by one, by several trials or after an interruption.

ROOT/<key>.shards/00000000-00032768-<checksum>.npy     rows 0 to 32,767 of the entry <key>
ROOT/<key>.shards/00000000-00032768.lock               held while they are computed

The entry is written once all of its shards exist; they are then removed.
"""

import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from raybench.catalog.feature_settings import SHARD_MULTIPLE
from raybench.data.dataset import Dataset
from raybench.store.files import StoragePath, file_sizes, read_bytes, remove_tree, write_atomic
from raybench.store.files.checksums import checksum_of

SUFFIX = ".shards"


class ShardRange(NamedTuple):
    """Rows from `start` up to but not including `stop`."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.start:08d}-{self.stop:08d}"

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Share:
    """The shards of one trial: every `num_trials`-th one, from the one at `index` on."""

    index: int = 0
    num_trials: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether it holds all shards."""
        return self.num_trials == 1

    def holds(self, position: int) -> bool:
        """Whether the shard at that position, counted over all splits, belongs to it.

        >>> [position for position in range(7) if Share(1, 3).holds(position)]
        [1, 4]
        """
        return position % self.num_trials == self.index


WHOLE = Share()


def shard_ranges(num_images: int, images_per_shard: int, batch_size: int | None = None) -> list[ShardRange]:
    """The shards of a split in order; a single one, perhaps empty, where the images fit into it.

    Args:
        num_images: of the split.
        images_per_shard: rounded down to a multiple of the batch size, but at least one batch.
        batch_size: images per forward pass; None: a divisor of SHARD_MULTIPLE.

    >>> [str(part) for part in shard_ranges(1000, 512)]
    ['00000000-00000512', '00000512-00001000']
    """
    batch = batch_size or SHARD_MULTIPLE
    length = max(images_per_shard // batch, 1) * batch
    starts = range(0, max(num_images, 1), length)
    return [ShardRange(start, min(start + length, num_images)) for start in starts]


def num_shards(dataset: Dataset, images_per_shard: int) -> int:
    """Trials of a features stage: one per shard of a search's splits, or one if all images fit into one."""
    sizes = [part.num_examples(split) for part, splits in dataset.search_parts for split in splits]
    if sum(sizes) <= images_per_shard:
        return 1
    return sum(len(shard_ranges(size, images_per_shard)) for size in sizes)


class ShardFiles:
    """The shards of one entry, in a folder or a bucket."""

    def __init__(self, root: StoragePath, key: str) -> None:
        self._folder = root / f"{key}{SUFFIX}"

    def lock_file(self, part: ShardRange) -> StoragePath:
        """Lock of the one process that computes the shard."""
        return self._folder / f"{part}.lock"

    def holds(self, part: ShardRange) -> bool:
        """Whether the shard is stored; its content is verified when it is read."""
        return self._name(part) is not None

    def read(self, part: ShardRange) -> Float32[np.ndarray, "n d"] | None:
        """The shard's rows; None if they are not stored, or not as they were written.

        Raises:
            StorageUnavailableError: if the storage stays unreachable.
        """
        name = self._name(part)
        if name is None:
            return None
        try:
            content = read_bytes(self._folder / name)
        except FileNotFoundError:
            return None
        if checksum_of(content) != name.removesuffix(".npy").rpartition("-")[2]:
            return None
        rows: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
        return rows if len(rows) == len(part) else None

    def write(self, part: ShardRange, rows: Float32[np.ndarray, "n d"]) -> None:
        """Store the shard's rows.

        Raises:
            StorageUnavailableError: if the storage cannot be written.
        """
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        content = buffer.getvalue()
        path = self._folder / f"{part}-{checksum_of(content)}.npy"
        write_atomic(path, lambda file: file.write(content))

    def remove(self) -> None:
        """Remove all shards of the entry."""
        remove_tree(self._folder)

    def _name(self, part: ShardRange) -> str | None:
        names = sorted(n for n in file_sizes(self._folder) if n.startswith(f"{part}-") and n.endswith(".npy"))
        return names[0] if names else None


def entry_of(folder: str) -> str:
    """Key of the entry whose shards, or whose own files, that folder of the store holds."""
    return folder.removesuffix(SUFFIX).removesuffix(".partial")
