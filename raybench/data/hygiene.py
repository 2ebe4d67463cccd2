"""Decode every image once: find the unreadable ones, hash the pixels, drop duplicates across splits."""

import contextlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Int64

from raybench.catalog.dataset_info import DatasetInfo
from raybench.core.errors import StorageError, UnreadableImageError
from raybench.core.records import Split, digest_of
from raybench.data.dataset import Examples, HygieneReport
from raybench.data.decoding import pixel_hash
from raybench.data.source import SourceSplit
from raybench.store.files import StoragePath, exclusive_lock, read_bytes, write_atomic
from raybench.store.files.sealed_json import seal, unseal

CACHE_VERSION = 1
UNREADABLE = ""
"""Stands for the hash of an image that cannot be decoded."""
MAX_LISTED = 20
"""Skipped images that a report names."""
_CHUNK = 64
"""Images per thread-pool task: a task of its own costs as much as hashing a thumbnail."""


class ImageCheck:
    """Checks the images of one dataset, split by split, and counts those that it skips.

    Args:
        info: its `unreadable` says what to do about images that cannot be decoded.
        cache: folder of pixel hashes; None decodes every image again.
    """

    def __init__(self, info: DatasetInfo, cache: StoragePath | None) -> None:
        self._may_skip = info.unreadable == "skip"
        self._cache = cache
        self._skipped: list[str] = []

    def readable(self, split: SourceSplit, name: str = "") -> Examples:
        """The images of a split that can be decoded.

        Args:
            name: of the split; prefix of the ids of skipped images.

        Raises:
            UnreadableImageError: an image cannot be decoded and the dataset does not say `skip`.
        """
        hashes = pixel_hashes(split, skip_unreadable=self._may_skip, cache=self._cache)
        is_readable = np.array([value != UNREADABLE for value in hashes], dtype=bool)
        prefix = f"{name}/" if name else ""
        self._skipped += [f"{prefix}{split.ids[p]}" for p in np.flatnonzero(~is_readable).tolist()]
        return Examples(split, np.flatnonzero(is_readable), hashes)

    def report(self, duplicates_removed: Mapping[str, int] | None = None) -> HygieneReport:
        """What was skipped so far, and how many duplicates each split lost."""
        removed = duplicates_removed or {}
        return HygieneReport(
            num_duplicates_across_splits=sum(removed.values()),
            duplicates_removed=removed,
            num_skipped=len(self._skipped),
            skipped=tuple(self._skipped[:MAX_LISTED]),
        )


class NoCheck(ImageCheck):
    """Takes all images as readable and different, without decoding any."""

    def __init__(self) -> None:
        self._skipped = []

    def readable(self, split: SourceSplit, name: str = "") -> Examples:
        """All images of a split, with placeholders for their hashes."""
        hashes = [f"{split.signature}/{name}/{i}" for i in range(len(split.ids))]
        return Examples(split, np.arange(len(split.ids)), hashes)


def pixel_hashes(split: SourceSplit, *, skip_unreadable: bool, cache: StoragePath | None) -> list[str]:
    """Pixel hash of every image, or UNREADABLE.

    With a cache, one process decodes the images; others wait for it and read its hashes.

    Raises:
        UnreadableImageError: an image cannot be decoded and `skip_unreadable` is off.
    """
    if cache is None:
        return _hash_all(split, skip_unreadable=skip_unreadable)
    name = f"pixel-hashes-{digest_of([CACHE_VERSION, split.signature])}"
    file = cache / f"{name}.json"

    def cached() -> list[str] | None:
        hashes = _read_cached(file, len(split.ids))
        return None if hashes and UNREADABLE in hashes and not skip_unreadable else hashes

    if (hashes := cached()) is not None:
        return hashes
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, StorageError):  # As in `_write_cached`.
            stack.enter_context(exclusive_lock(cache / f"{name}.lock"))
        if (hashes := cached()) is None:
            hashes = _hash_all(split, skip_unreadable=skip_unreadable)
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
            pool.shutdown(cancel_futures=True)  # Otherwise all other images are decoded before the error.
            raise
    return list(itertools.chain.from_iterable(chunks))


def _read_cached(file: StoragePath, expected: int) -> list[str] | None:
    try:
        content = json.loads(unseal(read_bytes(file)))
    except (OSError, ValueError):
        return None
    hashes = content.get("hashes") if isinstance(content, dict) else content  # A list in raybench 0.1.
    return hashes if isinstance(hashes, list) and len(hashes) == expected else None


def _write_cached(file: StoragePath, hashes: Sequence[str]) -> None:
    content = seal(json.dumps({"hashes": hashes}).encode())
    try:
        write_atomic(file, lambda stream: stream.write(content), is_durable=False)
    except StorageError:
        return  # The cache only saves time. Writers of results report a storage that cannot be written.


def without_duplicates(
    hashes: Mapping[Split, Sequence[str]],
) -> dict[Split, Int64[np.ndarray, " k"]]:
    """Per split the positions to keep so that no image is in two splits.

    Test keeps everything, val loses what is in test, train loses what is in val or test. So numbers on test
    stay comparable with published ones, and no model is measured on an image that it was trained on.
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
