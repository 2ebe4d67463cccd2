"""What a worker process reads once and every trial in it uses: datasets, and facts about backbones."""

import functools
from dataclasses import dataclass
from typing import Any

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.datasets import DatasetInfo
from raybench.core.records import Preprocessing
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset
from raybench.store.files import StoragePath
from raybench.store.layout import image_hashes_dir


@dataclass(frozen=True, eq=False)
class _ByRepr:
    """Lets `lru_cache` key on a catalogue row, which holds dicts and so cannot be hashed itself."""

    row: Any

    def __hash__(self) -> int:
        return hash(repr(self.row))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByRepr) and repr(self.row) == repr(other.row)


@functools.lru_cache(maxsize=4)
def _load_dataset(info: _ByRepr, cache: StoragePath) -> Dataset:
    return load_dataset(info.row, cache=cache)


def cached_dataset(info: DatasetInfo, storage: StoragePath) -> Dataset:
    """The dataset, read once per worker process and hashed once per storage; its test split is locked."""
    return _load_dataset(_ByRepr(info), image_hashes_dir(storage))


@functools.lru_cache(maxsize=64)
def _describe(info: _ByRepr) -> tuple[str, Preprocessing, int]:
    backbone = load_backbone(info.row)
    return backbone.digest, backbone.preprocessing, backbone.num_params


def describe(info: BackboneInfo) -> tuple[str, Preprocessing, int]:
    """(checkpoint digest, preprocessing, number of parameters), found out once per worker process."""
    return _describe(_ByRepr(info))
