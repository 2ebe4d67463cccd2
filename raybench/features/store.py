"""Feature store: frozen features on disk, computed once, written atomically, read memory-mapped.

ROOT/<key>/features.npy    float32 [n, d], memory-mapped: processes on one machine share the pages
          targets.npy      [n, ...], as the dataset has them; int64 [n] where they are classes
          ids.json         n example ids
          manifest.json    provenance, and sizes and checksums of the other files; written last
ROOT/<key>.partial/        being written, or left by a killed writer: never read, replaced by the next writer
ROOT/<key>.lock            held by the writer

If ROOT is in a bucket, these files are a copy on the machine's disk: see `cache_sync`.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import checkpoint_digest
from raybench.backbones.preprocessing import preprocessing_of
from raybench.backbones.scales import load_at_scale
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.feature_settings import DEFAULT_FEATURES, IMAGES_PER_SHARD, FeatureSettings
from raybench.core.records import Split, digest_of
from raybench.data.dataset import Dataset
from raybench.data.source import Targets
from raybench.features.cache_sync import FeatureCacheSync
from raybench.features.computation import SplitComputation
from raybench.features.entry import (
    MANIFEST,
    Entry,
    cannot_write,
    describe_damage,
    files_are_complete,
    is_complete,
    read_manifest,
    write_entries,
)
from raybench.features.shards import WHOLE, ShardFiles, Share, entry_of
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
POOLED = FeatureSpec()
"""The backbone's own pooled output."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features of one split, in the order of its examples."""

    features: Float32[np.ndarray, "n d"]
    """Memory-mapped and read-only: index it, or copy it with `np.array`."""
    targets: Targets
    ids: list[str]


class FeatureStore:
    """Features by backbone and dataset split, in one folder that any number of processes may share."""

    def __init__(
        self,
        root: StoragePath,
        *,
        settings: FeatureSettings = DEFAULT_FEATURES,
        num_halvings: int = 0,
        images_per_shard: int = IMAGES_PER_SHARD,
        on_damage: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Args:
        settings: how features are computed; part of their key where they differ from the defaults.
        num_halvings: how often to halve the batch size, after running out of memory.
        images_per_shard: a split with more images is computed in shards (see `shards`).
        on_damage: called with a sentence about every damaged entry, before it is replaced.
        """
        self.root = root
        self._disk = local_folder(root)
        self._sync = None if isinstance(root, Path) else FeatureCacheSync(root, self._disk)
        self.settings = settings
        self.num_halvings = num_halvings
        self._images_per_shard = images_per_shard
        self._on_damage = on_damage
        self.num_forward_images = 0
        """Images that this object has passed through a backbone; stays 0 if all features are stored."""

    def get(
        self,
        info: BackboneInfo,
        dataset: Dataset,
        split: Split,
        *,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        spec: FeatureSpec = POOLED,
        prefetch: Sequence[FeatureSpec] = (),
    ) -> FeatureSet:
        """Features of one split, computed if they are not stored yet.

        Args:
            batch_size: images per forward pass; None takes what suits the device and the input size. The
                batch size changes features in their last bits.
            spec: layer, pooling and scale; the default is the backbone's own pooled output.
            prefetch: specs likely to be requested later; if `spec` has to be computed, so are they.

        Raises:
            SplitLockedError: test was requested of a locked dataset.
            StorageUnavailableError: the store's folder cannot be written, or stays unreachable.
        """
        folder = self._disk / (key := self.key(info, dataset, split, spec))
        specs = [spec] if self._is_ready(key) else list(dict.fromkeys([spec, *prefetch]))
        self.ensure(info, dataset, [split], device=device, batch_size=batch_size, specs=specs)
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
        specs: Sequence[FeatureSpec] = (POOLED,),
        share: Share = WHOLE,
    ) -> None:
        """Compute missing features of several splits and specs, loading the backbone once per scale at most.

        The missing specs of a split share one pass over its images per scale. Of splits in several shards,
        only those of `share` are computed; whoever computes the last one of a split writes its entry.
        """
        for scale in sorted({spec.scale for spec in specs}):
            position = 0
            load = functools.cache(lambda scale=scale: load_at_scale(info, scale, device=device))
            for split in splits:
                dataset.split(split)  # Before anything else: test may be locked.
                keys = {self.key(info, dataset, split, spec): spec for spec in specs if spec.scale == scale}
                work = SplitComputation(
                    root=self.root,
                    settings=self.settings,
                    load=load,
                    dataset=dataset,
                    split=split,
                    device=device,
                    batch_size=batch_size,
                    num_halvings=self.num_halvings,
                    images_per_shard=self._images_per_shard,
                )
                try:
                    self._ensure_split(work, keys, share, position)
                finally:
                    self.num_forward_images += work.num_forward_images
                position += len(work.shards)

    def _ensure_split(
        self, work: SplitComputation, keys: Mapping[str, FeatureSpec], share: Share, position: int
    ) -> None:
        """Compute what is missing of the shards of `share`; `position` is that of the split's first shard."""
        if not share.is_whole:
            mine = [shard for i, shard in enumerate(work.shards, position) if share.holds(i)]
            if not mine or all(self._is_ready(key) for key in keys):
                return
            if len(work.shards) > 1:
                for shard in mine:
                    work.store(keys, shard)
                if not work.has_every_shard(keys):
                    return
        with ExitStack() as locks:
            if missing := self._lock_missing(keys, locks):
                self._compute(work, missing)

    def _lock_missing(self, keys: Mapping[str, FeatureSpec], locks: ExitStack) -> dict[str, FeatureSpec]:
        """Lock the entries that are not ready and return those that must be computed."""
        # Sorted, so that two processes that need the same entries cannot deadlock.
        missing = sorted(key for key in keys if not self._is_ready(key))
        for key in missing:
            self._lock(key, locks)
            if sentence := describe_damage(self._disk / key):
                self._on_damage(sentence)
        # Another process may have written them while this one waited, here or on another machine.
        missing = [key for key in missing if not self._is_available(key)]
        if self._sync is not None:
            for key in missing:
                locks.enter_context(self._sync.lock(key))
            missing = [key for key in missing if not self._is_available(key) and not self._upload_copy(key)]
        return {key: keys[key] for key in missing}

    def _compute(self, work: SplitComputation, specs: Mapping[str, FeatureSpec]) -> None:
        """Write the entries of the specs (by key), whose locks the caller holds."""
        examples = work.dataset.split(work.split)
        manifests = {key: {**work.manifest(), "pooling": spec.name} for key, spec in specs.items()}
        width = work.load().num_features
        write_entries(self._disk, manifests, work.batches(specs), examples.targets, examples.ids, width)
        for key in manifests:
            if self._sync is not None:
                self._sync.upload(key)
            ShardFiles(self.root, key).remove()

    def key(self, info: BackboneInfo, dataset: Dataset, split: Split, spec: FeatureSpec = POOLED) -> str:
        """Digest of everything that determines the features: weights, images, preprocessing, spec, code, and
        the settings that differ from their defaults."""
        return digest_of(
            [
                checkpoint_digest(info),
                dataset.split_fingerprint(split),
                preprocessing_of(info).identity,
                spec.name,
                CODE_VERSION,
                *([self.settings.changed] if self.settings.changed else []),
            ],
            24,
        )

    def entries(self) -> list[Entry]:
        """All complete entries, sorted by key."""
        folders: dict[str, dict[str, int]] = {}
        for name, size in file_sizes(self.root).items():
            key, _, file = name.partition("/")
            folders.setdefault(key, {})[file] = size
        keys = [key for key, files in sorted(folders.items()) if MANIFEST in files]
        manifests = map_concurrently(lambda key: read_manifest(self.root / key), keys, self.root)
        return [
            Entry(key, sum(folders[key].values()), manifest)
            for key, manifest in zip(keys, manifests, strict=True)
            if manifest is not None and files_are_complete(manifest, folders[key])
        ]

    def size_bytes(self) -> int:
        """Size of the store, including leftovers of killed writers but not locks or copies of a bucket."""
        return sum(size for name, size in file_sizes(self.root).items() if "/" in name)

    def clear(self) -> int:
        """Delete what no process is writing, also this machine's copies; return the bytes freed."""
        before = self.size_bytes()
        folders = {name.partition("/")[0] for name in file_sizes(self.root) if "/" in name}
        if self._disk.is_dir():
            folders |= {path.name for path in self._disk.iterdir() if path.is_dir()}
        for name in sorted(folders):
            with ExitStack() as locks:
                key = entry_of(name)
                self._lock(key, locks)
                if self._sync is not None:
                    locks.enter_context(self._sync.lock(key))
                remove_tree(self.root / name)
                remove_tree(self._disk / name)
        return before - self.size_bytes()

    def _is_ready(self, key: str) -> bool:
        """Whether the disk holds the entry, and so does the bucket if there is one."""
        is_uploaded = self._sync is None or self._sync.is_uploaded(key)
        return is_uploaded and is_complete(self._disk / key)

    def _is_available(self, key: str) -> bool:
        """Whether the entry is ready, perhaps after a download; the caller holds the disk's lock.

        A download replaces what was computed here while the bucket was unreachable, because another machine
        may have computed it since, and all machines must read the same bits.
        """
        return self._is_ready(key) or (self._sync is not None and self._sync.download(key))

    def _upload_copy(self, key: str) -> bool:
        """Upload an entry that was computed here while the bucket was unreachable; the caller holds its
        lease."""
        if self._sync is None or not is_complete(self._disk / key):
            return False
        self._sync.upload(key)
        return True

    def _lock(self, key: str, locks: ExitStack) -> None:
        """Take the lock of the entry on this disk."""
        try:
            retry_transient(functools.partial(self._disk.mkdir, parents=True, exist_ok=True))
        except OSError as error:
            raise cannot_write(self._disk, error) from error
        retry_transient(lambda: locks.enter_context(exclusive_lock(self._disk / f"{key}.lock")))
