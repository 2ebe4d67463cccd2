"""The images of a source that can be decoded, and a count of those that cannot."""

import numpy as np

from raybench.catalog.dataset_info import DatasetInfo
from raybench.data.dataset import Examples, HygieneReport
from raybench.data.hygiene import UNREADABLE, pixel_hashes
from raybench.data.source import SourceSplit
from raybench.store.files import StoragePath

MAX_LISTED = 20


class Readable:
    """Decodes splits of one dataset once, to hash them; what it had to skip is remembered."""

    def __init__(self, info: DatasetInfo, cache: StoragePath | None) -> None:
        self._may_skip = info.unreadable == "skip"
        self._cache = cache
        self.skipped: list[str] = []

    def __call__(self, split: SourceSplit, name: str = "") -> Examples:
        """The readable images of `split`; `name` stands before the ids of skipped ones.

        Raises:
            UnreadableImageError: an image cannot be decoded and the dataset does not say `skip`.
        """
        hashes = pixel_hashes(split, skip_unreadable=self._may_skip, cache=self._cache)
        is_readable = np.array([value != UNREADABLE for value in hashes], dtype=bool)
        prefix = f"{name}/" if name else ""
        self.skipped += [f"{prefix}{split.ids[p]}" for p in np.flatnonzero(~is_readable).tolist()]
        return Examples(split, np.flatnonzero(is_readable), hashes)

    def report(self, duplicates_removed: dict[str, int] | None = None) -> HygieneReport:
        """What was skipped so far, and which duplicates were dropped."""
        removed = duplicates_removed or {}
        return HygieneReport(
            num_duplicates_across_splits=sum(removed.values()),
            duplicates_removed=removed,
            num_skipped=len(self.skipped),
            skipped=tuple(self.skipped[:MAX_LISTED]),
        )
