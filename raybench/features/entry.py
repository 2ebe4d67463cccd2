"""One entry of the feature store on disk: written as `KEY.partial`, renamed to `KEY` when complete.

The manifest holds the size and the checksum of every other file. Each process verifies the checksums of an
entry once, before it first uses it. Entries of versions that stored no checksums are verified by size only.
"""

import functools
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from raybench.core.errors import StorageUnavailableError
from raybench.data.source import Targets
from raybench.store.files import StoragePath, flush_to_disk, read_bytes, retry_transient
from raybench.store.files.checksums import checksum_of_file

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored feature set."""

    key: str
    size_bytes: int
    manifest: Mapping[str, Any]


def is_complete(folder: Path) -> bool:
    """Whether every file of an entry has the size and the checksum that its manifest states.

    Waits for an unreachable storage, because an entry taken for absent would be computed again.
    """
    manifest = read_manifest(folder)
    return manifest is not None and damaged_file(folder, manifest) is None


def damaged_file(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """The first file of an entry that is missing or differs from its manifest; None if none is."""
    checksums = manifest.get("file_checksums")

    def is_intact(path: Path, size: int) -> bool:
        if path.stat().st_size != size:
            return False
        return checksums is None or checksum_of_file(path) == checksums.get(path.name)

    for name, size in manifest["file_bytes"].items():
        try:
            if not retry_transient(functools.partial(is_intact, folder / name, size)):
                return str(name)
        except OSError:
            return str(name)
    return None


def describe_damage(folder: Path) -> str | None:
    """A sentence about a damaged entry; None if it is intact or absent."""
    if not folder.exists():
        return None
    manifest = read_manifest(folder)
    name = MANIFEST if manifest is None else damaged_file(folder, manifest)
    if name is None:
        return None
    origin = manifest or {}
    return (
        f"stored features of {origin.get('backbone', 'a backbone')} on {origin.get('dataset', 'a dataset')} "
        f"({origin.get('split', 'one split')}) are damaged: {str(folder / name)!r} is not as it was written; "
        "they are computed again."
    )


def read_manifest(folder: StoragePath) -> dict[str, Any] | None:
    """Read the manifest of an entry; None if there is no entry, or its manifest is damaged.

    Raises:
        StorageUnavailableError: if the storage stays unreachable.
    """
    try:
        manifest = json.loads(read_bytes(folder / MANIFEST))
        if "file_checksums" in manifest:
            manifest["file_checksums"] = dict(manifest["file_checksums"])
        return {**manifest, "file_bytes": dict(manifest["file_bytes"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def files_are_complete(manifest: Mapping[str, Any], sizes: Mapping[str, int]) -> bool:
    """Whether the sizes of existing files (name → bytes) are those that the manifest states."""
    return all(sizes.get(name) == size for name, size in manifest["file_bytes"].items())


def partial_of(root: Path, key: str) -> Path:
    """Folder in which an entry is written: never read, replaced by the next writer."""
    return root / f"{key}.partial"


def begin_entry(root: Path, key: str) -> None:
    """Create an empty folder to write the entry in; delete leftovers and a damaged entry."""
    for leftover in (partial_of(root, key), root / key):
        shutil.rmtree(leftover, ignore_errors=True)
    partial_of(root, key).mkdir(parents=True, exist_ok=True)


def write_entries(
    root: Path,
    manifests: Mapping[str, Mapping[str, Any]],
    batches: Iterable[Sequence[Float32[np.ndarray, "b d"]]],
    targets: Targets,
    ids: list[str],
    width_if_empty: int,
) -> None:
    """Write entries (key → manifest), whose locks are held, and rename them into place.

    Waits for an unreachable storage, so that computed features are not lost.

    Args:
        batches: per batch, the features of every entry, in the order of `manifests`.
        width_if_empty: number of features d, for splits without a batch.

    Raises:
        StorageUnavailableError: if the folder cannot be written.
    """
    try:
        for key in manifests:
            retry_transient(functools.partial(begin_entry, root, key))
        arrays: list[np.ndarray] = []
        start = 0
        for batch in batches:
            if not arrays:
                arrays = _map_arrays(root, manifests, len(targets), [rows.shape[1] for rows in batch])
            for features, rows in zip(arrays, batch, strict=True):
                features[start : start + len(rows)] = rows
            start += len(batch[0])
        arrays = arrays or _map_arrays(root, manifests, len(targets), [width_if_empty] * len(manifests))
        for (key, manifest), features in zip(manifests.items(), arrays, strict=True):
            retry_transient(features.flush)  # type: ignore[attr-defined]
            content = {**manifest, "shape": list(features.shape)}
            retry_transient(functools.partial(_commit, root, key, content, targets, ids))
    except OSError as error:
        for key in manifests:
            shutil.rmtree(partial_of(root, key), ignore_errors=True)
        raise cannot_write(root, error) from error


def cannot_write(root: Path, error: OSError) -> StorageUnavailableError:
    """The error of a feature store whose folder is full, read-only or unreachable."""
    return StorageUnavailableError(f"the feature store {str(root)!r} cannot be written ({error}).")


def _map_arrays(root: Path, keys: Iterable[str], num: int, widths: Sequence[int]) -> list[np.ndarray]:
    """Memory-mapped array [num, width] in the partial folder of each key, its disk space reserved.

    Without the reservation, a disk that fills up during the forward passes kills the process by SIGBUS.
    """

    def make(key: str, width: int) -> np.ndarray:
        path = partial_of(root, key) / "features.npy"
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(num, width))
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return array

    return [
        retry_transient(functools.partial(make, key, width)) for key, width in zip(keys, widths, strict=True)
    ]


def _commit(root: Path, key: str, manifest: Mapping[str, Any], targets: Targets, ids: list[str]) -> None:
    """Write the remaining files and rename the entry into place. Can be repeated after a failure."""
    partial = partial_of(root, key)
    if not partial.exists() and is_complete(root / key):
        return  # An earlier attempt renamed it, but its answer was lost.
    np.save(partial / "targets.npy", targets)
    (partial / "ids.json").write_text(json.dumps(ids))
    files = sorted(file for file in partial.iterdir() if file.name != MANIFEST)
    for file in files:
        flush_to_disk(file)
    content = {
        **manifest,
        "key": key,
        "file_bytes": {file.name: file.stat().st_size for file in files},
        "file_checksums": {file.name: checksum_of_file(file) for file in files},
    }
    publish_entry(root, key, content)


def publish_entry(root: Path, key: str, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of an entry whose other files are on disk, and rename the entry into place."""
    partial = partial_of(root, key)
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    flush_to_disk(partial / MANIFEST)
    flush_to_disk(partial)
    partial.rename(root / key)
    flush_to_disk(root)
