"""Estimate the computing cost of a plan from sizes in the catalogue, without reading images or weights."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.catalog.tasks import protocol_of
from raybench.core.records import Pair
from raybench.spec.experiment import ExperimentSpec

MACS_PER_PARAM = 180
"""Multiply-adds of one 224-pixel image per parameter: 160 to 175 for ResNets and ConvNeXts, 200 for
ViTs at patch 16 (4.1 G / 23.5 M, 4.5 G / 27.8 M, 17.5 G / 85.8 M). Mobile networks need half of it, the mini
backbones up to four times as many."""
TRAINING_FACTOR = 3
"""Cost of a forward and backward pass, relative to the forward pass alone."""
MAX_COUNTED_FILES = 200_000
"""Larger folders count as unknown, so that a plan never takes minutes."""


def pass_flops(info: BackboneInfo, dataset: DatasetInfo) -> float | None:
    """FLOPs of all images once through the backbone; None if a size is unknown."""
    num_images = count_images(dataset)
    if info.params_m is None or num_images is None:
        return None
    relative_area = ((info.input_size or 224) / 224) ** 2
    return 2 * MACS_PER_PARAM * info.params_m * 1e6 * relative_area * num_images


def count_images(dataset: DatasetInfo) -> int | None:
    """Images of all splits: as the catalogue states, else counted in class folders; None if unknown."""
    if dataset.num_images is not None or not isinstance(dataset.source, FolderSource):
        return dataset.num_images
    root = Path(dataset.source.location)
    folders = [root if name == "all" else root / name for name in dataset.splits.values()]
    files = (file for folder in folders for file in folder.glob("*/*"))
    num_files = sum(1 for _ in islice(files, MAX_COUNTED_FILES))
    return num_files if 0 < num_files < MAX_COUNTED_FILES else None


def finetune_flops(spec: ExperimentSpec, pairs: Sequence[Pair]) -> float | None:
    """FLOPs of all fine-tuning trials; 0 without any, None if no size is known."""
    costs: list[float | None] = []
    for pair in pairs:
        task = pair.task
        if protocol_of(task).uses_features:
            continue
        once = pass_flops(spec.backbone(pair.backbone), spec.datasets[task.dataset])
        trials = len(spec.seeds) + (0 if spec.hparams is not None else spec.search.num_trials)
        epochs = spec.max_epochs_of(task.protocol)
        costs.append(None if once is None else once * TRAINING_FACTOR * epochs * trials)
    return total(costs) if costs else 0.0


def total(costs: Sequence[float | None]) -> float | None:
    """Sum of the known costs; None if none is known."""
    known_costs = [cost for cost in costs if cost is not None]
    return sum(known_costs) if known_costs else None


def unknown_sizes(spec: ExperimentSpec) -> list[str]:
    """Backbones and datasets whose size is unknown."""
    backbones = [info.name for info in spec.backbones if info.params_m is None]
    return backbones + [name for name, info in spec.datasets.items() if count_images(info) is None]
