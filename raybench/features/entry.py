"""One entry of the feature store on a disk: a folder that is renamed into its place when it is whole."""

import functools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from raybench.core.errors import StorageUnavailableError
from raybench.store.files import StoragePath, read_bytes, retry_transient

MANIFEST = "manifest.json"


def is_complete(folder: Path) -> bool:
    """Whether an entry is whole. Renaming is atomic, but a disk that lost power may have cut a file.

    A storage that is away is waited for: to take the entry for absent would be to compute it again.
    """
    manifest = read_manifest(folder)
    try:
        return manifest is not None and is_whole(
            manifest, {name: (folder / name).stat().st_size for name in manifest["file_bytes"]}
        )
    except OSError:
        return False


def read_manifest(folder: StoragePath) -> dict[str, Any] | None:
    """What an entry says of itself; None if there is no entry, or its manifest is damaged.

    Raises:
        StorageUnavailableError: if the storage stays away.
    """
    try:
        manifest = json.loads(read_bytes(folder / MANIFEST))
        return {**manifest, "file_bytes": dict(manifest["file_bytes"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(manifest: Mapping[str, Any], found: Mapping[str, int]) -> bool:
    """Whether the files found (name → bytes) are those that the manifest states."""
    return all(found.get(name) == size for name, size in manifest["file_bytes"].items())


def partial_of(root: Path, key: str) -> Path:
    """Where an entry is made: never read, replaced by whoever makes it next."""
    return root / f"{key}.partial"


def begin(root: Path, key: str) -> None:
    """An empty folder to make the entry in, in place of what a killed writer or a damage has left."""
    for leftover in (partial_of(root, key), root / key):
        shutil.rmtree(leftover, ignore_errors=True)
    partial_of(root, key).mkdir(parents=True, exist_ok=True)


def write_entries(
    root: Path,
    manifests: Mapping[str, Mapping[str, Any]],
    batches: Iterable[Sequence[Float32[np.ndarray, "b d"]]],
    targets: Int64[np.ndarray, " n"],
    ids: list[str],
    width_if_empty: int,
) -> None:
    """Write entries (key → manifest) beside their places and rename them into these; locks are held.

    A storage that is away is waited for, so that what a backbone has computed is not lost.

    Raises:
        StorageUnavailableError: if the folder cannot be written.
    """
    try:
        for key in manifests:
            retry_transient(functools.partial(begin, root, key))
        maps: list[np.ndarray] = []
        start = 0
        for batch in batches:
            if not maps:
                maps = _maps(root, manifests, len(targets), [rows.shape[1] for rows in batch])
            for features, rows in zip(maps, batch, strict=True):
                features[start : start + len(rows)] = rows
            start += len(batch[0])
        maps = maps or _maps(root, manifests, len(targets), [width_if_empty] * len(manifests))
        for (key, manifest), features in zip(manifests.items(), maps, strict=True):
            retry_transient(features.flush)  # type: ignore[attr-defined]
            described = {**manifest, "shape": list(features.shape)}
            retry_transient(functools.partial(_finish, root, key, described, targets, ids))
    except OSError as error:
        raise StorageUnavailableError(
            f"the feature store {str(root)!r} cannot be written ({error})."
        ) from error


def _maps(root: Path, keys: Iterable[str], num: int, widths: Sequence[int]) -> list[np.ndarray]:
    def make(key: str, width: int) -> np.ndarray:
        path = partial_of(root, key) / "features.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(num, width))

    return [
        retry_transient(functools.partial(make, key, width)) for key, width in zip(keys, widths, strict=True)
    ]


def _finish(
    root: Path, key: str, manifest: Mapping[str, Any], targets: Int64[np.ndarray, " n"], ids: list[str]
) -> None:
    """Complete the entry and give it its name. May be called again after it has failed."""
    partial = partial_of(root, key)
    if not partial.exists() and is_complete(root / key):
        return  # Renamed by an attempt whose answer was lost.
    np.save(partial / "targets.npy", targets)
    (partial / "ids.json").write_text(json.dumps(ids))
    sizes = {file.name: file.stat().st_size for file in partial.iterdir() if file.name != MANIFEST}
    described = {**manifest, "key": key, "file_bytes": sizes}
    (partial / MANIFEST).write_text(json.dumps(described, indent=1))
    partial.rename(root / key)
