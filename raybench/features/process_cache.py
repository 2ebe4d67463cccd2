"""Cache of a worker process: datasets and backbone summaries, loaded once and shared by its trials."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.datasets import DatasetInfo
from raybench.core.preprocessing import Preprocessing
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset
from raybench.store.files import StoragePath
from raybench.store.layout import image_hashes_dir


@dataclass(frozen=True, eq=False)
class _HashableRow:
    """Catalogue row as a key of `lru_cache`; rows hold dicts, which cannot be hashed."""

    row: Any

    def __hash__(self) -> int:
        return hash(repr(self.row))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HashableRow) and repr(self.row) == repr(other.row)


class BackboneSummary(NamedTuple):
    """What the provenance of a measurement states about its backbone."""

    checkpoint_digest: str
    preprocessing: Preprocessing
    num_params: int
    """Parameters without a head."""


@functools.lru_cache(maxsize=4)
def _load_dataset(info: _HashableRow, cache: StoragePath) -> Dataset:
    return load_dataset(info.row, cache=cache)


def cached_dataset(info: DatasetInfo, storage: StoragePath) -> Dataset:
    """The dataset, read once per worker process and hashed once per storage; its test split is locked."""
    return _load_dataset(_HashableRow(info), image_hashes_dir(storage))


@functools.lru_cache(maxsize=64)
def _summarise(info: _HashableRow) -> BackboneSummary:
    backbone = load_backbone(info.row)
    return BackboneSummary(backbone.digest, backbone.preprocessing, backbone.num_params)


def cached_backbone_summary(info: BackboneInfo) -> BackboneSummary:
    """Digest, preprocessing and size of a backbone, which is loaded once per worker process for it."""
    return _summarise(_HashableRow(info))
