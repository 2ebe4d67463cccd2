"""Features on disk: computed once, written so that a killed writer leaves nothing harmful, read by mapping.

ROOT/<key>/features.npy    float32 [n, d], memory-mapped: processes on one machine share the pages
          targets.npy      int64 [n]
          ids.json         n example ids
          manifest.json    what this is; written last
ROOT/<key>.partial/        being written, or left by a killed writer: never read, replaced by the next
ROOT/<key>.lock            held by the writer
"""

import functools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float32, Int64

from raybench.backbones.backbone import Backbone
from raybench.backbones.loading import checkpoint_digest
from raybench.backbones.preprocessing import preprocessing_of
from raybench.backbones.scales import load_at_scale
from raybench.backbones.view import View
from raybench.catalog.backbone_info import BackboneInfo
from raybench.data.dataset import Dataset
from raybench.errors import StorageUnavailableError
from raybench.features.extraction import extract_views
from raybench.records import Split, digest_of
from raybench.storage import patiently, read_whole

CODE_VERSION = 1
"""Raise when the same key would give other features."""
OWN = (View(),)
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features of one split, in the order of its examples."""

    features: Float32[np.ndarray, "n d"]
    """Memory-mapped and read-only: take what you need with `np.asarray`, or index it."""
    targets: Int64[np.ndarray, " n"]
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored feature set."""

    key: str
    size_bytes: int
    manifest: Mapping[str, Any]


def suitable_batch_size(device: torch.device | str, input_size: int) -> int:
    """Images per forward pass. A CPU is fastest while a layer's activations stay in its cache.

    (MobileNetV2 at 224 pixels on one core: 23 ms an image in batches of 16, 29 ms in batches of 50.)
    """
    if torch.device(device).type != "cpu":
        return 256
    return 16 if input_size > 128 else 64


class FeatureStore:
    """Features by backbone and dataset split, under one folder that any number of processes may share."""

    def __init__(self, root: Path, *, num_halvings: int = 0) -> None:
        """`num_halvings`: how often suitable batches are halved, once memory ran out with them."""
        self.root = Path(root)
        self.num_halvings = num_halvings
        self.num_forward_images = 0
        """Images this object has sent through a backbone; stays 0 on warm storage."""

    def get(
        self,
        info: BackboneInfo,
        dataset: Dataset,
        split: Split,
        *,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        view: View = OWN[0],
        beside: Sequence[View] = (),
    ) -> FeatureSet:
        """The features of one split, computed now if nobody has before.

        Args:
            batch_size: images per forward pass; None takes what suits the device and the input size. Another
                one moves features in their last bits.
            view: layer and pooling; the default is the backbone's own pooled feature.
            beside: views that will be asked for later; where `view` is missing they are computed with it.

        Raises:
            SplitLockedError: test was asked for with a locked dataset.
            StorageUnavailableError: the store's folder cannot be written, or stays away.
        """
        folder = self.root / self.key(info, dataset, split, view)
        views = [view] if self._is_complete(folder) else list(dict.fromkeys([view, *beside]))
        self.ensure(info, dataset, [split], device=device, batch_size=batch_size, views=views)
        return FeatureSet(
            features=patiently(lambda: np.load(folder / "features.npy", mmap_mode="r")),
            targets=patiently(lambda: np.load(folder / "targets.npy")),
            ids=json.loads(read_whole(folder / "ids.json")),
        )

    def ensure(
        self,
        info: BackboneInfo,
        dataset: Dataset,
        splits: Sequence[Split],
        *,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        views: Sequence[View] = OWN,
    ) -> None:
        """Compute what is missing of several splits and views, loading the backbone once per scale at most.

        The missing views of a split come from the same pass of its images, one pass for each scale.
        """
        for scale in sorted({view.scale for view in views}):
            backbone = None
            for split in splits:
                dataset.split(split)  # Before anything else: test may be locked.
                keys = {self.key(info, dataset, split, v): v for v in views if v.scale == scale}
                missing = sorted(key for key in keys if not self._is_complete(self.root / key))
                with ExitStack() as locks:
                    # Sorted: two processes that want the same views cannot block each other.
                    for key in missing:
                        patiently(functools.partial(self._enter, locks, key))
                    # Another process may have written them while this one waited.
                    absent = {key: keys[key] for key in missing if not self._is_complete(self.root / key)}
                    if absent:
                        backbone = backbone or load_at_scale(info, scale, device=device)
                        self._compute(backbone, dataset, split, absent, device=device, batch_size=batch_size)

    def _compute(
        self,
        backbone: Backbone,
        dataset: Dataset,
        split: Split,
        views: Mapping[str, View],
        *,
        device: torch.device | str,
        batch_size: int | None,
    ) -> None:
        """Write the views (by key, whose locks are held) from one pass of a split's images."""
        examples = dataset.split(split)
        side = backbone.preprocessing.input_size
        size = batch_size or max(1, suitable_batch_size(device, side) >> self.num_halvings)
        batches = extract_views(backbone, examples, list(views.values()), device=device, batch_size=size)
        manifest = {
            "backbone": backbone.info.name,
            "dataset": dataset.info.name,
            "split": split,
            "checkpoint_digest": backbone.digest,
            "dataset_fingerprint": dataset.fingerprint,
            "preprocessing": asdict(backbone.preprocessing),
            "batch_size": size,
            "device": str(device),
            "torch": torch.__version__,
        }
        named = {key: {**manifest, "pooling": view.name} for key, view in views.items()}
        self._write(named, batches, examples.targets, examples.ids, backbone.num_features)
        self.num_forward_images += len(examples)

    def has(self, info: BackboneInfo, dataset: Dataset, split: Split, view: View = OWN[0]) -> bool:
        """Whether `get` would find this entry without computing."""
        return self._is_complete(self.root / self.key(info, dataset, split, view))

    def key(self, info: BackboneInfo, dataset: Dataset, split: Split, view: View = OWN[0]) -> str:
        """What decides the features' values, digested: weights, images, preprocessing, pooling, code."""
        return digest_of(
            [
                checkpoint_digest(info),
                dataset.split_fingerprint(split),
                asdict(preprocessing_of(info)),
                view.name,
                CODE_VERSION,
            ],
            24,
        )

    def entries(self) -> list[Entry]:
        """Every complete entry, by key."""
        found = []
        for manifest in sorted(self.root.glob(f"*/{MANIFEST}")):
            folder = manifest.parent
            if self._is_complete(folder):
                size = sum(file.stat().st_size for file in folder.iterdir())
                found.append(Entry(folder.name, size, json.loads(manifest.read_text())))
        return found

    def size_bytes(self) -> int:
        """What the store's folder takes on disk, leftovers of killed writers included."""
        return sum(file.stat().st_size for file in self.root.rglob("*") if file.is_file())

    def clear(self) -> int:
        """Delete all entries and leftovers that nobody is writing; return the bytes freed."""
        before = self.size_bytes()
        for folder in sorted(path for path in self.root.glob("*") if path.is_dir()):
            with self._lock(folder.name.removesuffix(".partial")):
                shutil.rmtree(folder, ignore_errors=True)
        return before - self.size_bytes()

    def _enter(self, locks: ExitStack, key: str) -> None:
        locks.enter_context(self._lock(key))

    def _lock(self, key: str) -> FileLock:
        try:
            patiently(functools.partial(self.root.mkdir, parents=True, exist_ok=True))
        except OSError as error:
            raise StorageUnavailableError(
                f"the feature store {str(self.root)!r} cannot be written ({error})."
            ) from error
        return FileLock(self.root / f"{key}.lock")

    def _is_complete(self, folder: Path) -> bool:
        """Whether an entry is whole. Renaming is atomic, but a disk that lost power may have cut a file.

        A storage that is away is waited for: to take the entry for absent would be to compute it again.
        """
        try:
            expected = json.loads(read_whole(folder / MANIFEST))["file_bytes"]
            return all((folder / name).stat().st_size == size for name, size in expected.items())
        except StorageUnavailableError:
            raise
        except (OSError, ValueError, KeyError):
            return False

    def _write(
        self,
        manifests: Mapping[str, Mapping[str, Any]],
        batches: Iterable[Sequence[Float32[np.ndarray, "b d"]]],
        targets: Int64[np.ndarray, " n"],
        ids: list[str],
        width_if_empty: int,
    ) -> None:
        """Write entries (key → manifest) beside their places and rename them into these; locks are held.

        A storage that is away is waited for, so that what a backbone has computed is not lost.
        """
        try:
            for key in manifests:
                patiently(functools.partial(self._begin, key))
            maps: list[np.ndarray] = []
            start = 0
            for batch in batches:
                if not maps:
                    maps = self._maps(manifests, len(targets), [rows.shape[1] for rows in batch])
                for features, rows in zip(maps, batch, strict=True):
                    features[start : start + len(rows)] = rows
                start += len(batch[0])
            maps = maps or self._maps(manifests, len(targets), [width_if_empty] * len(manifests))
            for (key, manifest), features in zip(manifests.items(), maps, strict=True):
                patiently(features.flush)  # type: ignore[attr-defined]
                described = {**manifest, "shape": list(features.shape)}
                patiently(functools.partial(self._finish, key, described, targets, ids))
        except OSError as error:
            raise StorageUnavailableError(
                f"the feature store {str(self.root)!r} cannot be written ({error})."
            ) from error

    def _begin(self, key: str) -> None:
        for leftover in (self._partial(key), self.root / key):
            shutil.rmtree(leftover, ignore_errors=True)
        self._partial(key).mkdir(parents=True, exist_ok=True)

    def _partial(self, key: str) -> Path:
        return self.root / f"{key}.partial"

    def _maps(self, keys: Iterable[str], num: int, widths: Sequence[int]) -> list[np.ndarray]:
        def make(key: str, width: int) -> np.ndarray:
            path = self._partial(key) / "features.npy"
            return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(num, width))

        return [
            patiently(functools.partial(make, key, width)) for key, width in zip(keys, widths, strict=True)
        ]

    def _finish(
        self, key: str, manifest: Mapping[str, Any], targets: Int64[np.ndarray, " n"], ids: list[str]
    ) -> None:
        """Complete the entry and give it its name. May be called again after it has failed."""
        partial = self._partial(key)
        if not partial.exists() and self._is_complete(self.root / key):
            return  # Renamed by an attempt whose answer was lost.
        np.save(partial / "targets.npy", targets)
        (partial / "ids.json").write_text(json.dumps(ids))
        sizes = {file.name: file.stat().st_size for file in partial.iterdir() if file.name != MANIFEST}
        described = {**manifest, "key": key, "file_bytes": sizes}
        (partial / MANIFEST).write_text(json.dumps(described, indent=1))
        partial.rename(self.root / key)
