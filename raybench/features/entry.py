"""One entry of the feature store on disk: written as `KEY.partial`, renamed to `KEY` when complete."""

import functools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from raybench.core.errors import StorageUnavailableError
from raybench.data.source import Targets
from raybench.store.files import StoragePath, read_bytes, retry_transient

MANIFEST = "manifest.json"


def is_complete(folder: Path) -> bool:
    """Whether an entry is complete. Renaming is atomic, but a power failure may have truncated a file.

    Waits for an unreachable storage, because an entry taken for absent would be computed again.
    """
    manifest = read_manifest(folder)
    try:
        return manifest is not None and files_are_complete(
            manifest, {name: (folder / name).stat().st_size for name in manifest["file_bytes"]}
        )
    except OSError:
        return False


def read_manifest(folder: StoragePath) -> dict[str, Any] | None:
    """Read the manifest of an entry; None if there is no entry, or its manifest is damaged.

    Raises:
        StorageUnavailableError: if the storage stays unreachable.
    """
    try:
        manifest = json.loads(read_bytes(folder / MANIFEST))
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
    """Make an empty folder to write the entry in; leftovers of a killed writer and a damaged entry go."""
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
        width_if_empty: number of features where there is no batch to tell it.

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
        raise StorageUnavailableError(
            f"the feature store {str(root)!r} cannot be written ({error})."
        ) from error


def _map_arrays(root: Path, keys: Iterable[str], num: int, widths: Sequence[int]) -> list[np.ndarray]:
    """Memory-mapped array [num, width] in the partial folder of each key."""

    def make(key: str, width: int) -> np.ndarray:
        path = partial_of(root, key) / "features.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(num, width))

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
    sizes = {file.name: file.stat().st_size for file in partial.iterdir() if file.name != MANIFEST}
    content = {**manifest, "key": key, "file_bytes": sizes}
    (partial / MANIFEST).write_text(json.dumps(content, indent=1))
    partial.rename(root / key)
