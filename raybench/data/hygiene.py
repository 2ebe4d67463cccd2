"""Decode every image once: find the unreadable ones, hash the pixels, drop duplicates across splits."""

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Int64

from raybench.core.errors import StorageError, UnreadableImageError
from raybench.core.records import Split, digest_of
from raybench.data.decoding import pixel_hash
from raybench.data.source import SourceSplit
from raybench.store.files import StoragePath, read_bytes, write_atomic

CACHE_VERSION = 1
UNREADABLE = ""
"""Stands where the hash of an image would."""
_CHUNK = 64
"""Images per thread-pool task: a task of its own costs as much as hashing a thumbnail."""


def pixel_hashes(split: SourceSplit, *, skip_unreadable: bool, cache: StoragePath | None) -> list[str]:
    """Per image its pixel hash, or UNREADABLE. With `cache`, images are decoded once ever, not per process.

    Raises:
        UnreadableImageError: an image cannot be decoded and `skip_unreadable` is off.
    """
    file = cache / f"pixel-hashes-{digest_of([CACHE_VERSION, split.signature])}.json" if cache else None
    hashes = _read_cached(file, len(split.ids)) if file else None
    if hashes is None or (UNREADABLE in hashes and not skip_unreadable):
        hashes = _hash_all(split, skip_unreadable=skip_unreadable)
        if file:
            _write_cached(file, hashes)
    return hashes


def _hash_all(split: SourceSplit, *, skip_unreadable: bool) -> list[str]:
    def hash_one(position: int) -> str:
        try:
            return pixel_hash(split.read(position))
        except UnreadableImageError:
            if skip_unreadable:
                return UNREADABLE
            raise

    def hash_chunk(start: int) -> list[str]:
        return [hash_one(p) for p in range(start, min(start + _CHUNK, len(split.ids)))]

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        try:
            chunks = list(pool.map(hash_chunk, range(0, len(split.ids), _CHUNK)))
        except UnreadableImageError:
            pool.shutdown(cancel_futures=True)  # Else the error waits until all other images are decoded.
            raise
    return list(itertools.chain.from_iterable(chunks))


def _read_cached(file: StoragePath, expected: int) -> list[str] | None:
    try:
        hashes = json.loads(read_bytes(file))
    except (OSError, ValueError):
        return None
    return hashes if isinstance(hashes, list) and len(hashes) == expected else None


def _write_cached(file: StoragePath, hashes: Sequence[str]) -> None:
    content = json.dumps(hashes).encode()
    try:
        write_atomic(file, lambda stream: stream.write(content), is_durable=False)
    except StorageError:
        return  # Only a shortcut is lost; those who must write report a storage that cannot be written.


def without_duplicates(
    hashes: Mapping[Split, Sequence[str]],
) -> dict[Split, Int64[np.ndarray, " k"]]:
    """Per split the positions to keep so that no image is in two splits.

    Test keeps everything, val loses what is in test, train loses what is in val or test: numbers reported on
    test stay comparable with other people's, and nothing that is measured was learned from.
    """
    seen: set[str] = set()
    kept: dict[Split, Int64[np.ndarray, " k"]] = {}
    order: tuple[Split, ...] = ("test", "val", "train")
    for name in order:
        if name in hashes:
            is_new = np.array([value not in seen for value in hashes[name]], dtype=bool)
            kept[name] = np.flatnonzero(is_new)
            seen.update(hashes[name])
    return kept
