"""Feature store in an S3 bucket: each machine keeps a memory-mapped copy on disk, synced with the bucket.

Bucket and disk hold the same entries under the same keys. Entries never change, so a copy on disk stays
valid. An entry in the bucket is complete once it has a manifest, which is uploaded last.

DISK/<key>/shared          empty marker: the bucket is known to hold this entry too
BUCKET/<key>.lock          lease of the one machine that computes it
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from raybench.core.errors import StorageUnavailableError
from raybench.features.entry import (
    MANIFEST,
    begin_entry,
    damaged_file,
    files_are_complete,
    partial_of,
    publish_entry,
    read_manifest,
)
from raybench.store.files import (
    ExclusiveLock,
    exclusive_lock,
    file_sizes,
    flush_to_disk,
    retry_transient,
)
from raybench.store.files.s3 import S3Path

UPLOADED = "shared"


class FeatureCacheSync:
    """Copies entries of the feature store between a bucket and this machine's disk."""

    def __init__(self, bucket: S3Path, disk: Path) -> None:
        self._bucket = bucket
        self._disk = disk

    def lock(self, key: str) -> AbstractContextManager[ExclusiveLock]:
        """Lease on the entry; only its holder computes the entry."""
        return exclusive_lock(self._bucket / f"{key}.lock")

    def is_uploaded(self, key: str) -> bool:
        """Whether a marker on this disk says that the bucket holds the entry."""
        return (self._disk / key / UPLOADED).exists()

    def download(self, key: str) -> bool:
        """Download the entry; return False if the bucket has no intact one. The caller holds the disk's lock.

        Raises:
            StorageUnavailableError: if the bucket stays unreachable or the disk is full.
        """
        source = self._bucket / key
        manifest = self._manifest(key)
        if manifest is None:
            return False
        try:
            begin_entry(self._disk, key)
            partial = partial_of(self._disk, key)
            for name in manifest["file_bytes"]:
                (source / name).download(partial / name)
                flush_to_disk(partial / name)
            if damaged_file(partial, manifest) is not None:
                return False
            (partial / UPLOADED).touch()
            publish_entry(self._disk, key, manifest)
        except FileNotFoundError:
            return False  # Removed meanwhile by `raybench cache --clear`.
        except OSError as error:
            raise StorageUnavailableError(
                f"cannot copy {str(source)!r} to {str(self._disk)!r} ({error}); free space there, or let "
                "RAYBENCH_CACHE name another folder."
            ) from error
        return True

    def upload(self, key: str) -> None:
        """Upload the entry, its manifest last.

        Raises:
            StorageUnavailableError: if the bucket stays unreachable. The copy on this disk is kept, and the
                next request for it on this machine uploads it.
        """
        entry = self._disk / key
        for name in [*(read_manifest(entry) or {})["file_bytes"], MANIFEST]:
            with (entry / name).open("rb") as file:
                (self._bucket / key / name).upload(file)
        retry_transient((entry / UPLOADED).touch)

    def _manifest(self, key: str) -> dict[str, Any] | None:
        """Manifest of an entry that is complete in the bucket, else None."""
        manifest = read_manifest(self._bucket / key)
        if manifest is None or not files_are_complete(manifest, file_sizes(self._bucket / key)):
            return None
        return manifest
