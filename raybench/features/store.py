"""Features on disk: computed once, written so that a killed writer leaves nothing harmful, read by mapping.

ROOT/<key>/features.npy    float32 [n, d], memory-mapped: processes on one machine share the pages
          targets.npy      int64 [n]
          ids.json         n example ids
          manifest.json    what this is; written last
ROOT/<key>.partial/        being written, or left by a killed writer: never read, replaced by the next
ROOT/<key>.lock            held by the writer

Where ROOT is in a bucket, all this is a copy on the machine's disk: see `bucket`.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from raybench.backbones.backbone import Backbone
from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import checkpoint_digest
from raybench.backbones.preprocessing import preprocessing_of
from raybench.backbones.scales import load_at_scale
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import StorageUnavailableError
from raybench.core.records import Split, digest_of
from raybench.data.dataset import Dataset
from raybench.features.cache_sync import BucketShelf
from raybench.features.entry import MANIFEST, is_complete, is_whole, read_manifest, write_entries
from raybench.features.extraction import extract_views
from raybench.store.files import (
    StoragePath,
    exclusive_lock,
    file_sizes,
    local_folder,
    map_concurrently,
    read_bytes,
    remove_tree,
    retry_transient,
)

CODE_VERSION = 1
"""Raise when the same key would give other features."""
OWN = (FeatureSpec(),)


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

    def __init__(self, root: StoragePath, *, num_halvings: int = 0) -> None:
        """`num_halvings`: how often suitable batches are halved, once memory ran out with them."""
        self.root = root
        self._disk = local_folder(root)
        self._shelf = None if isinstance(root, Path) else BucketShelf(root, self._disk)
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
        view: FeatureSpec = OWN[0],
        beside: Sequence[FeatureSpec] = (),
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
        key = self.key(info, dataset, split, view)
        folder = self._disk / key
        views = [view] if self._is_here(key) else list(dict.fromkeys([view, *beside]))
        self.ensure(info, dataset, [split], device=device, batch_size=batch_size, views=views)
        return FeatureSet(
            features=retry_transient(lambda: np.load(folder / "features.npy", mmap_mode="r")),
            targets=retry_transient(lambda: np.load(folder / "targets.npy")),
            ids=json.loads(read_bytes(folder / "ids.json")),
        )

    def ensure(
        self,
        info: BackboneInfo,
        dataset: Dataset,
        splits: Sequence[Split],
        *,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        views: Sequence[FeatureSpec] = OWN,
    ) -> None:
        """Compute what is missing of several splits and views, loading the backbone once per scale at most.

        The missing views of a split come from the same pass of its images, one pass for each scale.
        """
        for scale in sorted({view.scale for view in views}):
            backbone = None
            for split in splits:
                dataset.split(split)  # Before anything else: test may be locked.
                keys = {self.key(info, dataset, split, v): v for v in views if v.scale == scale}
                missing = sorted(key for key in keys if not self._is_here(key))
                with ExitStack() as locks:
                    # Sorted: two processes that want the same views cannot block each other.
                    for key in missing:
                        self._enter(locks, key)
                    # Another process may have written them while this one waited, here or elsewhere.
                    wanted = [key for key in missing if not self._is_found(key)]
                    if self._shelf is not None:
                        for key in wanted:
                            locks.enter_context(self._shelf.only_one(key))
                        wanted = [key for key in wanted if not self._is_found(key) and not self._is_sent(key)]
                    absent = {key: keys[key] for key in wanted}
                    if absent:
                        backbone = backbone or load_at_scale(info, scale, device=device)
                        self._compute(backbone, dataset, split, absent, device=device, batch_size=batch_size)

    def _compute(
        self,
        backbone: Backbone,
        dataset: Dataset,
        split: Split,
        views: Mapping[str, FeatureSpec],
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
        write_entries(self._disk, named, batches, examples.targets, examples.ids, backbone.num_features)
        self.num_forward_images += len(examples)
        if self._shelf is not None:
            for key in named:
                self._shelf.share(key)

    def has(self, info: BackboneInfo, dataset: Dataset, split: Split, view: FeatureSpec = OWN[0]) -> bool:
        """Whether `get` would find this entry without computing."""
        key = self.key(info, dataset, split, view)
        if self._is_here(key):
            return True
        return self._shelf is not None and self._shelf.holds(key)

    def key(self, info: BackboneInfo, dataset: Dataset, split: Split, view: FeatureSpec = OWN[0]) -> str:
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
        found: dict[str, dict[str, int]] = {}
        for name, size in file_sizes(self.root).items():
            key, _, file = name.partition("/")
            found.setdefault(key, {})[file] = size
        keys = [key for key, files in sorted(found.items()) if MANIFEST in files]
        manifests = map_concurrently(lambda key: read_manifest(self.root / key), keys, self.root)
        return [
            Entry(key, sum(found[key].values()), manifest)
            for key, manifest in zip(keys, manifests, strict=True)
            if manifest is not None and is_whole(manifest, found[key])
        ]

    def size_bytes(self) -> int:
        """What the store takes, leftovers of killed writers included, locks and a bucket's copies not."""
        return sum(size for name, size in file_sizes(self.root).items() if "/" in name)

    def clear(self) -> int:
        """Delete all entries and leftovers that nobody is writing, and this machine's copies of them.

        Returns:
            The bytes freed in the store.
        """
        before = self.size_bytes()
        folders = {name.partition("/")[0] for name in file_sizes(self.root) if "/" in name}
        if self._disk.is_dir():
            folders |= {path.name for path in self._disk.iterdir() if path.is_dir()}
        for name in sorted(folders):
            with ExitStack() as locks:
                key = name.removesuffix(".partial")
                self._enter(locks, key)
                if self._shelf is not None:
                    locks.enter_context(self._shelf.only_one(key))
                remove_tree(self.root / name)
                remove_tree(self._disk / name)
        return before - self.size_bytes()

    def _is_here(self, key: str) -> bool:
        """Whether the disk holds the entry, and so does the bucket if there is one."""
        is_shared = self._shelf is None or self._shelf.is_shared(key)
        return is_shared and is_complete(self._disk / key)

    def _is_found(self, key: str) -> bool:
        """Whether the disk holds the entry now, after asking the bucket; the disk's lock is held.

        What the bucket holds replaces what was computed here while it was away: another machine may have
        computed it since, and all of them are to read the same bits.
        """
        return self._is_here(key) or (self._shelf is not None and self._shelf.fetch(key))

    def _is_sent(self, key: str) -> bool:
        """Whether the entry was computed here while the bucket was away. It is sent now, under its lease."""
        if self._shelf is None or not is_complete(self._disk / key):
            return False
        self._shelf.share(key)
        return True

    def _enter(self, locks: ExitStack, key: str) -> None:
        """Take the lock of the entry on this disk."""
        try:
            retry_transient(functools.partial(self._disk.mkdir, parents=True, exist_ok=True))
        except OSError as error:
            raise StorageUnavailableError(
                f"the feature store {str(self._disk)!r} cannot be written ({error})."
            ) from error
        retry_transient(lambda: locks.enter_context(exclusive_lock(self._disk / f"{key}.lock")))
