"""torchvision's datasets by class name: those that are divided by `train=` or `split=`, or not at all."""

import inspect
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64

from raybench.catalog.dataset_info import SPLIT_SPELLINGS, DatasetInfo, data_folder
from raybench.core.errors import DataError, UnreadableImageError
from raybench.core.records import Split
from raybench.core.registry import suggest
from raybench.data.decoding import RgbImage, to_rgb
from raybench.data.source import UNDIVIDED, Source, SourceSplit, chosen_splits


def read_source(info: DatasetInfo) -> Source:
    """Open the class `info.location` of `torchvision.datasets`; download it where that is offered.

    Raises:
        DataError: no such class or split, not a classification dataset, or it cannot be downloaded.
    """
    import torchvision.datasets as published  # Deferred: it loads torch.

    factory = getattr(published, info.location, None)
    if not inspect.isclass(factory) or info.location not in published.__all__:
        raise DataError(
            f"dataset {info.name!r}: torchvision has no dataset class {info.location!r}"
            f"{suggest(info.location, published.__all__)}."
        )
    datasets = _open_splits(factory, info)
    classes = [str(name) for name in _class_names(next(iter(datasets.values())))]
    targets = {ours: _targets(dataset, info.name) for ours, dataset in datasets.items()}
    num_classes = max(len(classes), 1 + max(int(labels.max()) for labels in targets.values()))
    if len(classes) != num_classes:
        classes = [str(label) for label in range(num_classes)]
    splits: dict[Split, SourceSplit] = {
        ours: SourceSplit(
            ids=[f"{i:07d}" for i in range(len(dataset))],
            labels=targets[ours],
            read=_ItemReader(dataset, f"{info.location} {ours}"),
            signature="/".join(
                (
                    "torchvision",
                    str(data_folder()),
                    info.location,
                    info.splits.get(ours, ours),
                    str(len(dataset)),
                )
            ),
        )
        for ours, dataset in datasets.items()
    }
    return Source(class_names=tuple(classes), splits=splits)


def _open_splits(factory: Any, info: DatasetInfo) -> dict[Split, Any]:
    """Our split → the opened torchvision dataset."""
    parameters = inspect.signature(factory).parameters
    where = f"torchvision's {info.location}"
    if "train" in parameters:
        chosen = chosen_splits(info.splits, ("train", "test"), where)
        return {ours: _open(factory, info, {"train": theirs == "train"}) for ours, theirs in chosen.items()}
    if "split" not in parameters:
        chosen = chosen_splits(info.splits, (UNDIVIDED,), where)
        return {ours: _open(factory, info, {}) for ours in chosen}
    if info.splits:
        return {ours: _open(factory, info, {"split": theirs}) for ours, theirs in info.splits.items()}
    found: dict[Split, Any] = {}
    for ours, spellings in SPLIT_SPELLINGS.items():
        for spelling in spellings:
            try:
                found[ours] = _open(factory, info, {"split": spelling})
                break
            except UnknownSplitError:
                continue
    chosen_splits({}, list(found), where)
    return found


class UnknownSplitError(DataError):
    """torchvision refused the value of `split=`."""


def _open(factory: Any, info: DatasetInfo, division: Mapping[str, Any]) -> Any:
    root = data_folder()
    offers_download = "download" in inspect.signature(factory).parameters
    try:
        root.mkdir(parents=True, exist_ok=True)
        return factory(root=str(root), **division, **({"download": True} if offers_download else {}))
    except ValueError as error:
        if "split" in division:
            raise UnknownSplitError(
                f"dataset {info.name!r}: torchvision's {info.location}: {error}"
            ) from error
        raise DataError(f"dataset {info.name!r}: torchvision's {info.location}: {error}") from error
    except (OSError, RuntimeError, TypeError) as error:
        raise DataError(
            f"dataset {info.name!r}: torchvision cannot open or download {info.location} into {root} "
            f"({type(error).__name__}: {error}); download it there by hand, or set RAYBENCH_DATA."
        ) from error


def _class_names(dataset: Any) -> list[Any]:
    classes = getattr(dataset, "classes", None) or []
    # ImageNet's classes are tuples of synonyms.
    return [name[0] if isinstance(name, tuple) else name for name in classes]


def _targets(dataset: Any, name: str) -> Int64[np.ndarray, " n"]:
    """Targets without decoding images where torchvision keeps them in an attribute, else from the items."""
    for attribute in ("targets", "labels", "_labels"):
        values = getattr(dataset, attribute, None)
        if values is not None and len(values) == len(dataset):
            break
    else:
        values = [dataset[i][1] for i in range(len(dataset))]
    try:
        targets = np.asarray(values)
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise TypeError(f"targets of type {targets.dtype} and shape {targets.shape}")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"dataset {name!r} does not have one class per image ({error}); raybench needs classification."
        ) from error
    return targets.astype(np.int64)


class _ItemReader:
    """Position → image by the dataset's own `__getitem__`; one thread at a time, as some keep files open."""

    def __init__(self, dataset: Any, name: str) -> None:
        self._dataset, self._name = dataset, name
        self._lock = threading.Lock()

    def __call__(self, position: int) -> RgbImage:
        try:
            with self._lock:
                image = self._dataset[position][0]
                return np.asarray(to_rgb(image))
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableImageError(
                f"cannot read image {position} of torchvision's {self._name} ({error}); "
                "delete its files so that they are downloaded again, or set `unreadable: skip`."
            ) from error
