"""Features in a bucket: every machine maps a copy on its own disk, and shares what it computed by the bucket.

Bucket and disk hold the same entries under the same keys. What a key names never changes, so a copy need
never be looked up again. An entry is in the bucket when its manifest is, which is sent last.

DISK/<key>/shared          empty: the bucket is known to hold this entry, too
BUCKET/<key>.lock          lease of the one machine that computes it
"""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from raybench.core.errors import StorageUnavailableError
from raybench.features.entry import MANIFEST, begin, is_complete, is_whole, partial_of, read_manifest
from raybench.store.files import ExclusiveLock, exclusive_lock, file_sizes, retry_transient
from raybench.store.files.s3 import S3Path

SHARED = "shared"


class BucketShelf:
    """Brings entries from a bucket to this machine's disk, and there what was computed here."""

    def __init__(self, bucket: S3Path, disk: Path) -> None:
        self._bucket = bucket
        self._disk = disk

    def only_one(self, key: str) -> AbstractContextManager[ExclusiveLock]:
        """Keeps the other machines from computing the entry, too."""
        return exclusive_lock(self._bucket / f"{key}.lock")

    def is_shared(self, key: str) -> bool:
        """Whether the copy on this disk is known to be in the bucket as well."""
        return (self._disk / key / SHARED).exists()

    def holds(self, key: str) -> bool:
        """Whether the bucket has the entry, whole."""
        return self._manifest(key) is not None

    def fetch(self, key: str) -> bool:
        """Copy the entry to this machine's disk, if the bucket holds it whole; the disk's lock is held.

        Raises:
            StorageUnavailableError: if the bucket stays away or the disk is full.
        """
        there = self._bucket / key
        manifest = self._manifest(key)
        if manifest is None:
            return False
        try:
            begin(self._disk, key)
            partial = partial_of(self._disk, key)
            for name in manifest["file_bytes"]:
                (there / name).download(partial / name)
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
            (partial / SHARED).touch()
            partial.rename(self._disk / key)
        except FileNotFoundError:
            return False  # Removed meanwhile by `raybench cache --clear`.
        except OSError as error:
            raise StorageUnavailableError(
                f"cannot copy {str(there)!r} to {str(self._disk)!r} ({error}); free space there, or let "
                "RAYBENCH_CACHE name another folder."
            ) from error
        return is_complete(self._disk / key)

    def share(self, key: str) -> None:
        """Send the entry to the bucket, its manifest last.

        Raises:
            StorageUnavailableError: if the bucket stays away. The copy on this disk is kept, and sent by
                whoever asks for it next on this machine.
        """
        here = self._disk / key
        for name in [*(read_manifest(here) or {})["file_bytes"], MANIFEST]:
            with (here / name).open("rb") as file:
                (self._bucket / key / name).upload(file)
        retry_transient((here / SHARED).touch)

    def _manifest(self, key: str) -> dict[str, Any] | None:
        """Of an entry that is in the bucket whole; else None."""
        manifest = read_manifest(self._bucket / key)
        return manifest if manifest and is_whole(manifest, file_sizes(self._bucket / key)) else None
