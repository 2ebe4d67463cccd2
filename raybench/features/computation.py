"""Compute the features of one split: in one pass, or shard by shard where the split has several."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from raybench.backbones.backbone import Backbone
from raybench.backbones.feature_spec import FeatureSpec
from raybench.catalog.feature_settings import IMAGES_PER_SHARD, FeatureSettings
from raybench.core.records import Split
from raybench.data.dataset import Dataset
from raybench.features.batch_size import suitable_batch_size
from raybench.features.extraction import Features, extract_features
from raybench.features.shards import ShardFiles, ShardRange, shard_ranges
from raybench.store.files import StoragePath, exclusive_lock, retry_transient

MAX_SPECS = 4
"""More specs at once are computed in one pass: a shard of 2,048 features takes 256 MiB of memory per spec."""


@dataclass(kw_only=True)
class SplitComputation:
    """The forward passes of one backbone over one split."""

    root: StoragePath
    """Of the feature store."""
    settings: FeatureSettings
    load: Callable[[], Backbone]
    """Loads the backbone at its first call and returns it again at later ones."""
    dataset: Dataset
    split: Split
    device: torch.device | str
    batch_size: int | None
    """Images per forward pass; None takes what suits the device and the input size."""
    num_halvings: int = 0
    """How often a suitable batch size is halved."""
    images_per_shard: int = IMAGES_PER_SHARD
    num_forward_images: int = field(default=0, init=False)
    """Images passed through the backbone so far."""

    @property
    def shards(self) -> list[ShardRange]:
        """The split's shards in order."""
        return shard_ranges(self.dataset.num_examples(self.split), self.images_per_shard, self.batch_size)

    def batches(self, specs: Mapping[str, FeatureSpec]) -> Iterator[list[Features]]:
        """Features of the specs (by key of their entry) for all images in order; stored shards are read."""
        shards = self.shards
        if len(shards) == 1 or len(specs) > MAX_SPECS:
            yield from self._extract(specs, ShardRange(0, self.dataset.num_examples(self.split)))
            return
        for shard in shards:
            rows = {key: ShardFiles(self.root, key).read(shard) for key in specs}
            missing = {key: specs[key] for key, found in rows.items() if found is None}
            computed = self._compute(missing, shard) if missing else {}
            yield [computed[key] if found is None else found for key, found in rows.items()]

    def store(self, specs: Mapping[str, FeatureSpec], shard: ShardRange) -> None:
        """Compute and store the shard of those specs that have not stored it."""
        missing = {key: spec for key, spec in specs.items() if not ShardFiles(self.root, key).holds(shard)}
        if missing:
            self._compute(missing, shard)

    def has_every_shard(self, specs: Mapping[str, FeatureSpec]) -> bool:
        """Whether the shards of all specs are stored."""
        return all(ShardFiles(self.root, key).holds(shard) for key in specs for shard in self.shards)

    def manifest(self) -> dict[str, Any]:
        """Provenance that an entry's manifest states."""
        backbone = self.load()
        return {
            "backbone": backbone.info.name,
            "dataset": self.dataset.info.name,
            "split": self.split,
            "checkpoint_digest": backbone.digest,
            "dataset_fingerprint": self.dataset.fingerprint,
            "preprocessing": asdict(backbone.preprocessing),
            "settings": self.settings.changed,
            "batch_size": self._batch_size,
            "device": str(self.device),
            "torch": torch.__version__,
        }

    @property
    def _batch_size(self) -> int:
        suitable = suitable_batch_size(self.device, self.load().preprocessing.input_size)
        return self.batch_size or max(1, suitable >> self.num_halvings)

    def _compute(self, specs: Mapping[str, FeatureSpec], shard: ShardRange) -> dict[str, Features]:
        """The shard of each spec, computed in one pass and stored, unless another process has meanwhile."""
        files = {key: ShardFiles(self.root, key) for key in sorted(specs)}
        with ExitStack() as locks:
            # Sorted, so that two processes that need the same shards cannot deadlock.
            for shards in files.values():
                lock = functools.partial(exclusive_lock, shards.lock_file(shard))
                retry_transient(lambda lock=lock: locks.enter_context(lock()))  # type: ignore[misc]
            stored = {key: shards.read(shard) for key, shards in files.items()}
            rows = {key: found for key, found in stored.items() if found is not None}
            missing = [key for key in files if key not in rows]
            batches = list(self._extract({key: specs[key] for key in missing}, shard)) if missing else []
            for i, key in enumerate(missing):
                rows[key] = np.concatenate([batch[i] for batch in batches])
                files[key].write(shard, rows[key])
        return rows

    def _extract(self, specs: Mapping[str, FeatureSpec], shard: ShardRange) -> Iterator[list[Features]]:
        examples, backbone = self.dataset.split(self.split), self.load()
        if len(shard) < len(examples):
            examples = examples.take(np.arange(*shard))
        yield from extract_features(
            backbone,
            examples,
            list(specs.values()),
            device=self.device,
            batch_size=self._batch_size,
            settings=self.settings,
        )
        self.num_forward_images += len(examples)
