"""Load CIFAR-10 as one uint8 array, decoded once and cached."""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Int, UInt8
from PIL import Image

from raybench.core.errors import DataError

CACHE_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cifar10:
    """One split. Only the final linear probe may use `test`."""

    images: UInt8[np.ndarray, "n 32 32 3"]
    labels: Int[np.ndarray, " n"]
    fingerprint: str
    """SHA-256 prefix of images and labels, in order."""

    def tenth(self) -> "Cifar10":
        """The first tenth of every class: the same images for every architecture and seed."""
        classes = np.unique(self.labels)
        first = [np.flatnonzero(self.labels == c)[: len(self.labels) // (10 * len(classes))] for c in classes]
        kept = np.sort(np.concatenate(first))
        return self.subset(kept)

    def subset(self, positions: Int[np.ndarray, " m"]) -> "Cifar10":
        """These images in this order."""
        return _with_fingerprint(self.images[positions], self.labels[positions])


def load_cifar10(split: Literal["train", "test"], source: Path, cache: Path) -> Cifar10:
    """Read one split of CIFAR-10.

    Args:
        split: `train` (50,000 images) or `test` (10,000).
        source: a Parquet file with columns split, label, jpeg, or a folder for torchvision's CIFAR10, which
            is downloaded if absent.
        cache: folder for the decoded arrays.

    Raises:
        DataError: if the Parquet file is absent, or its images of this split are not 32×32.
    """
    key = hashlib.sha256(f"{source.resolve()}-{CACHE_VERSION}".encode()).hexdigest()[:12]
    path = cache / f"cifar10-{split}-{key}.npz"
    if not path.exists():
        images, labels = _read_parquet(split, source) if source.suffix else _read_torchvision(split, source)
        cache.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(temporary, images=images, labels=labels)
        temporary.replace(path)
    with np.load(path) as arrays:
        return _with_fingerprint(arrays["images"], arrays["labels"])


def _with_fingerprint(images: UInt8[np.ndarray, "n 32 32 3"], labels: Int[np.ndarray, " n"]) -> Cifar10:
    digest = hashlib.sha256(np.ascontiguousarray(images).tobytes())
    digest.update(labels.astype(np.int64).tobytes())
    return Cifar10(images=images, labels=labels.astype(np.int64), fingerprint=digest.hexdigest()[:16])


def _read_parquet(split: str, source: Path) -> tuple[np.ndarray, np.ndarray]:
    if not source.exists():
        raise DataError(f"no CIFAR-10 at {source}; pass --data FILE.parquet, or --data FOLDER to download.")
    table = pq.read_table(source, columns=["split", "label", "jpeg"], filters=[("split", "=", split)])
    images = [np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in table["jpeg"].to_pylist()]
    if {image.shape for image in images} != {(32, 32, 3)}:
        raise DataError(f"{source}: split {split!r} must hold 32×32 images, and at least one.")
    return np.stack(images), table["label"].to_numpy().astype(np.int64)


def _read_torchvision(split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import CIFAR10  # Deferred: the Parquet copy needs no torchvision.

    dataset = CIFAR10(str(folder), train=split == "train", download=True)
    return np.asarray(dataset.data), np.asarray(dataset.targets, dtype=np.int64)
