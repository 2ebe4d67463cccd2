"""Features on disk: computed once, written so that a killed writer leaves nothing harmful, read by mapping.

ROOT/<key>/features.npy    float32 [n, d], memory-mapped: processes on one machine share the pages
          targets.npy      int64 [n]
          ids.json         n example ids
          manifest.json    what this is; written last
ROOT/<key>.partial/        being written, or left by a killed writer: never read, replaced by the next
ROOT/<key>.lock            held by the writer
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float32, Int64

from raybench.backbones.loading import checkpoint_digest, load_backbone
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.data.dataset import Dataset
from raybench.errors import StorageError
from raybench.features.extraction import extract
from raybench.records import Split, digest_of

CODE_VERSION = 1
"""Raise when the same key would give other features."""
POOLING = "pooled"
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

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
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
    ) -> FeatureSet:
        """The features of one split, computed now if nobody has before.

        Args:
            batch_size: images per forward pass; None takes what suits the device and the input size. Another
                one moves features in their last bits.

        Raises:
            SplitLockedError: test was asked for with a locked dataset.
            StorageError: the store's folder cannot be written.
        """
        self.ensure(info, dataset, [split], device=device, batch_size=batch_size)
        folder = self.root / self.key(info, dataset, split)
        return FeatureSet(
            features=np.load(folder / "features.npy", mmap_mode="r"),
            targets=np.load(folder / "targets.npy"),
            ids=json.loads((folder / "ids.json").read_text()),
        )

    def ensure(
        self,
        info: BackboneInfo,
        dataset: Dataset,
        splits: Iterable[Split],
        *,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
    ) -> None:
        """Compute what is missing of several splits, loading the backbone at most once."""
        backbone = None
        for split in splits:
            examples = dataset.split(split)  # Before anything else: test may be locked.
            key = self.key(info, dataset, split)
            if self._is_complete(self.root / key):
                continue
            with self._lock(key):
                if self._is_complete(self.root / key):
                    continue  # Another process wrote it while this one waited.
                backbone = backbone or load_backbone(info, device=device)
                size = batch_size or suitable_batch_size(device, backbone.preprocessing.input_size)
                rows = extract(backbone, examples, device=device, batch_size=size)
                manifest = {
                    "backbone": info.name,
                    "dataset": dataset.info.name,
                    "split": split,
                    "checkpoint_digest": backbone.digest,
                    "dataset_fingerprint": dataset.fingerprint,
                    "preprocessing": asdict(backbone.preprocessing),
                    "pooling": POOLING,
                    "batch_size": size,
                    "device": str(device),
                    "torch": torch.__version__,
                }
                shape = (len(examples), backbone.num_features)
                self._write(key, rows, shape, examples.targets, examples.ids, manifest)
                self.num_forward_images += len(examples)

    def has(self, info: BackboneInfo, dataset: Dataset, split: Split) -> bool:
        """Whether `get` would find this entry without computing."""
        return self._is_complete(self.root / self.key(info, dataset, split))

    def key(self, info: BackboneInfo, dataset: Dataset, split: Split) -> str:
        """What decides the features' values, digested: weights, images, preprocessing, pooling, code."""
        return digest_of(
            [
                checkpoint_digest(info),
                dataset.split_fingerprint(split),
                asdict(preprocessing_of(info)),
                POOLING,
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

    def _lock(self, key: str) -> FileLock:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the feature store {str(self.root)!r} cannot be written ({error})."
            ) from error
        return FileLock(self.root / f"{key}.lock")

    def _is_complete(self, folder: Path) -> bool:
        """Whether an entry is whole. Renaming is atomic, but a disk that lost power may have cut a file."""
        try:
            expected = json.loads((folder / MANIFEST).read_text())["file_bytes"]
            return all((folder / name).stat().st_size == size for name, size in expected.items())
        except (OSError, ValueError, KeyError):
            return False

    def _write(
        self,
        key: str,
        rows: Iterable[Float32[np.ndarray, "b d"]],
        shape: tuple[int, int],
        targets: Int64[np.ndarray, " n"],
        ids: list[str],
        manifest: Mapping[str, Any],
    ) -> None:
        """Write an entry beside its place and rename it into it. The caller holds the lock."""
        partial, final = self.root / f"{key}.partial", self.root / key
        try:
            for leftover in (partial, final):
                shutil.rmtree(leftover, ignore_errors=True)
            partial.mkdir(parents=True)
            features = np.lib.format.open_memmap(
                partial / "features.npy", mode="w+", dtype=np.float32, shape=shape
            )
            start = 0
            for batch in rows:
                features[start : start + len(batch)] = batch
                start += len(batch)
            features.flush()
            del features
            np.save(partial / "targets.npy", targets)
            (partial / "ids.json").write_text(json.dumps(ids))
            sizes = {file.name: file.stat().st_size for file in partial.iterdir()}
            described = {**manifest, "key": key, "shape": list(shape), "file_bytes": sizes}
            (partial / MANIFEST).write_text(json.dumps(described, indent=1))
            partial.rename(final)
        except OSError as error:
            raise StorageError(
                f"the feature store {str(self.root)!r} cannot be written ({error})."
            ) from error
