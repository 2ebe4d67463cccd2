"""Reader of torchvision's classification datasets: divided by `train=`, by `split=`, or not at all."""

import inspect
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torchvision.datasets
from jaxtyping import Int64

from raybench.catalog.dataset_info import data_folder
from raybench.catalog.dataset_sources import TorchvisionSource
from raybench.catalog.folder_layout import SPLIT_SPELLINGS
from raybench.core.errors import DataError, UnreadableImageError
from raybench.core.records import Split
from raybench.core.registry import suggest
from raybench.data.decoding import RgbImage, to_rgb
from raybench.data.source import (
    MAY_DOWNLOAD,
    UNDIVIDED,
    NotDownloadedError,
    SourceData,
    SourceSplit,
    choose_splits,
)


def read_torchvision(source: TorchvisionSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """Open a class of `torchvision.datasets`; download it where that is offered.

    Raises:
        DataError: no such class or split, not a classification dataset, or it cannot be downloaded.
    """
    published, location = torchvision.datasets, source.location
    factory = getattr(published, location, None)
    if not inspect.isclass(factory) or location not in published.__all__:
        raise DataError(
            f"dataset {name!r}: torchvision has no dataset class {location!r}"
            f"{suggest(location, published.__all__)}."
        )
    chosen, datasets = _open_splits(factory, splits, location, name)
    targets = {ours: _targets(dataset, name) for ours, dataset in datasets.items()}
    return SourceData(
        class_names=_class_names(datasets, targets, f"dataset {name!r}: torchvision's {location}"),
        splits={
            ours: SourceSplit(
                ids=[f"{i:07d}" for i in range(len(dataset))],
                targets=targets[ours],
                read=partial(_read_item, dataset, threading.Lock(), f"{location} {chosen[ours]}"),
                signature=f"torchvision/{data_folder()}/{location}/{chosen[ours]}/{len(dataset)}",
            )
            for ours, dataset in datasets.items()
        },
        names=chosen,
    )


class UnknownSplitError(DataError):
    """torchvision refused the value of `split=`."""


def _open_splits(
    factory: Any, splits: Mapping[Split, str], location: str, name: str
) -> tuple[Mapping[Split, str], Mapping[Split, Any]]:
    """Our split → torchvision's name for it, and → the opened dataset."""
    parameters, where = inspect.signature(factory).parameters, f"torchvision's {location}"
    open_one = partial(_open, factory, location, name)
    if "train" in parameters:
        chosen = choose_splits(splits, ("train", "test"), where)
        return chosen, {ours: open_one(train=theirs == "train") for ours, theirs in chosen.items()}
    if "split" not in parameters:
        chosen = choose_splits(splits, (UNDIVIDED,), where)
        return chosen, {ours: open_one() for ours in chosen}
    if splits:
        return splits, {ours: open_one(split=theirs) for ours, theirs in splits.items()}
    opened: dict[str, Any] = {}
    for spellings in SPLIT_SPELLINGS.values():
        for spelling in spellings:
            with suppress(UnknownSplitError):
                opened[spelling] = open_one(split=spelling)
                break
    chosen = choose_splits({}, list(opened), where)
    return chosen, {ours: opened[theirs] for ours, theirs in chosen.items()}


def _open(factory: Any, location: str, name: str, **division: Any) -> Any:
    root, may_download = data_folder(), MAY_DOWNLOAD.get()
    offered = {"download": may_download} if "download" in inspect.signature(factory).parameters else {}
    try:
        if may_download:
            root.mkdir(parents=True, exist_ok=True)
        return factory(root=str(root), **division, **offered)
    except ValueError as error:
        kind = UnknownSplitError if "split" in division else DataError
        raise kind(f"dataset {name!r}: torchvision's {location}: {error}") from error
    except (OSError, RuntimeError, TypeError) as error:
        kind = DataError if may_download else NotDownloadedError
        raise kind(
            f"dataset {name!r}: torchvision cannot open or download {location} into {root} "
            f"({type(error).__name__}: {error}); download it there by hand, or set RAYBENCH_DATA."
        ) from error


def _class_names(
    datasets: Mapping[Split, Any], targets: Mapping[Split, Int64[np.ndarray, " n"]], where: str
) -> tuple[str, ...]:
    """WordNet ids, the dataset's own class names, or numbers where it has none or too few."""
    for attribute in ("wnids", "classes"):
        # ImageNet's classes are tuples of synonyms, of which two classes may share the first; ids are unique.
        listed = {ours: list(getattr(dataset, attribute, None) or []) for ours, dataset in datasets.items()}
        classes = next(iter(listed.values()))
        if any(other != classes for other in listed.values()):
            raise DataError(
                f"{where} has other classes, or another order of them, in one split than in another, so a "
                "class's number means two things."
            )
        num_classes = max(len(classes), 1 + max(int(ids.max(initial=-1)) for ids in targets.values()))
        if classes and len(classes) == num_classes:
            return tuple(", ".join(name) if isinstance(name, tuple) else str(name) for name in classes)
    return tuple(str(number) for number in range(num_classes))


def _targets(dataset: Any, name: str) -> Int64[np.ndarray, " n"]:
    """Targets without decoding images where torchvision keeps them in an attribute, else from the items."""
    values = _listed_targets(dataset)
    try:
        targets = np.asarray(values)
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise TypeError(f"targets of type {targets.dtype} and shape {targets.shape}")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"dataset {name!r} does not have one class per image ({error}); raybench needs classification."
        ) from error
    return targets.astype(np.int64)


def _listed_targets(dataset: Any) -> Any:
    for attribute in ("targets", "labels", "_labels"):
        values = getattr(dataset, attribute, None)
        if values is not None and len(values) == len(dataset):
            return values
    samples = getattr(dataset, "_samples", None)
    if isinstance(samples, list) and len(samples) == len(dataset) and dataset.target_transform is None:
        return [sample[1] for sample in samples]
    return [dataset[i][1] for i in range(len(dataset))]


def _read_item(dataset: Any, lock: threading.Lock, name: str, position: int) -> RgbImage:
    """An image by the dataset's own `__getitem__`; one thread at a time, as some keep files open."""
    try:
        with lock:
            return np.asarray(to_rgb(dataset[position][0]))
    except MemoryError:
        raise
    except Exception as error:  # As in `decode`.
        raise UnreadableImageError(
            f"cannot read image {position} of torchvision's {name} ({error}); "
            "delete its files so that they are downloaded again, or set `unreadable: skip`."
        ) from error
