"""DatasetInfo → Dataset: read the source, skip or refuse unreadable images, carve missing splits, check."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import BUILT_IN, FunctionSource
from raybench.catalog.datasets import DATASETS
from raybench.core.errors import DataError
from raybench.core.names import name_problem
from raybench.core.records import Split
from raybench.core.registry import load_entry_point
from raybench.data.dataset import Dataset, Examples
from raybench.data.ground_truth import Gallery
from raybench.data.hygiene import ImageCheck, NoCheck, without_duplicates
from raybench.data.retrieval_sets import load_first_of_class, load_listed
from raybench.data.source import Reader, SourceData, require_distinct, require_labels, unique_names
from raybench.data.source_report import source_report
from raybench.data.splits import cap_per_class, carve
from raybench.store.files import StoragePath

_ORDER: tuple[Split, ...] = ("train", "val", "test")
_QUERY_SPLITS: tuple[Split, ...] = ("val", "test")


def load_dataset(info: DatasetInfo, *, cache: StoragePath | None = None) -> Dataset:
    """Load a dataset with its three splits, disjoint by pixels and with every class in each.

    A dataset that `queries` divides is loaded as it was published instead (`retrieval_sets.py`).

    Every image is decoded once to be hashed; its pixels are not kept. Carving and capping follow hashes of
    ids: the same dataset gives the same splits on every machine.

    Args:
        cache: folder for pixel hashes, so that each image is decoded for them once ever rather than once per
            process.

    Raises:
        UnreadableImageError: an image cannot be decoded and `info.unreadable` is "error".
        DataError: a missing folder, column or split; a class without examples; another number of classes
            than `info.num_classes`.
    """
    return _load(info, ImageCheck(info, cache))


def outline_dataset(info: DatasetInfo) -> Dataset:
    """The dataset as `load_dataset` gives it if all images are readable and different; none is decoded.

    Its pixel hashes and so its fingerprint mean nothing.

    Raises:
        DataError: as `load_dataset`, for all that is seen without decoding.
    """
    return _load(info, NoCheck())


def _load(info: DatasetInfo, check: ImageCheck) -> Dataset:
    queries = info.queries
    if queries is not None and queries.kind == "listed":
        return load_listed(info, queries, check)
    source = read_source(info)
    if queries is not None and queries.kind == "first":
        return load_first_of_class(info, queries, source, check)
    splits = {name: check.readable(split, name) for name, split in source.splits.items()}
    if info.test_only:
        none = splits["test"].take(np.zeros(0, dtype=np.int64))
        splits = {"train": none, "val": none, "test": splits["test"]}
        return Dataset(info, source.class_names, splits, check.report(), source=source_report(source, info))
    splits, from_source = _disjoint(splits)
    splits = _complete(splits, info, source.class_names)
    splits, from_carving = _disjoint(splits)
    if info.annotation == "classes":
        _require_every_class(splits, info, source.class_names)
    removed: dict[str, int] = {name: from_source.get(name, 0) + from_carving[name] for name in _ORDER}
    galleries: dict[Split, Gallery] = {}
    if queries is not None:
        galleries = {name: Gallery(splits=(name,), leave_one_out=True) for name in _QUERY_SPLITS}
    return Dataset(
        info,
        source.class_names,
        splits,
        check.report(removed),
        galleries=galleries,
        source=source_report(source, info),
    )


def read_source(info: DatasetInfo) -> SourceData:
    """A dataset as its source has it; of a test-only dataset, only the split that is test.

    Raises:
        DataError: a missing folder, column or split; a label that is hidden; class names that look alike;
            another number of classes than `info.num_classes`; a
            reader that no installed row names (a stored spec must not run code).
    """
    if isinstance(info.source, FunctionSource) and not _is_installed(info.source):
        raise DataError(
            f"dataset {info.name!r} is read by {info.source.reader!r}, which no installed dataset row names; "
            "install the package that adds it."
        )
    splits, where = info.splits, f"dataset {info.name!r}"
    if info.test_only and splits:
        splits = {"test": next(splits[split] for split in ("test", "train", "val") if split in splits)}
    read: Reader = load_entry_point(info.source.reader)
    source = read(info.source, splits, info.name)
    if info.test_only:
        source = _only_test(source)
    elif "train" not in source.splits:
        raise DataError(
            f"{where} has no train split, only {', '.join(source.splits)}; say which it is with "
            "`splits: {train: NAME}`, or write `test_only: true` if it is only measured on."
        )
    require_distinct(source.class_names, where)
    source = replace(source, class_names=unique_names(source.class_names))
    for name, split in source.splits.items():
        if not len(split.ids):
            raise DataError(f"{where} has no image in its {name} split, {source.names.get(name, name)!r}.")
        if info.annotation == "classes":
            require_labels(split.targets, len(source.class_names), f"{where}, {name} split")
    for class_name in source.class_names:
        if problem := name_problem(class_name):
            raise DataError(f"dataset {info.name!r}: the class name {class_name!a:.80} {problem}.")
    if info.num_classes is not None and len(source.class_names) != info.num_classes:
        raise DataError(
            f"dataset {info.name!r} should have {info.num_classes} classes, its source has "
            f"{len(source.class_names)}: {', '.join(source.class_names[:5])}, ..."
        )
    return source


def _is_installed(source: FunctionSource) -> bool:
    return source.location in BUILT_IN or any(row.source == source for row in DATASETS.values())


def _only_test(source: SourceData) -> SourceData:
    """The source with the one split that is measured on: test, else val, else train."""
    name = next(name for name in reversed(_ORDER) if name in source.splits)
    names: dict[Split, str] = {"test": source.names.get(name, name)}
    return replace(source, splits={"test": source.splits[name]}, names=names)


def _disjoint(splits: Mapping[Split, Examples]) -> tuple[dict[Split, Examples], dict[Split, int]]:
    """The splits without duplicates across them, and how many images each lost."""
    kept = without_duplicates({name: examples.pixel_hashes for name, examples in splits.items()})
    removed: dict[Split, int] = {name: len(examples) - len(kept[name]) for name, examples in splits.items()}
    return {name: examples.take(kept[name]) for name, examples in splits.items()}, removed


def _complete(
    splits: Mapping[Split, Examples], info: DatasetInfo, class_names: tuple[str, ...]
) -> dict[Split, Examples]:
    """Carve a missing test, cap to few shots, carve a missing val; in this order, so that test is the same
    whatever the cap."""
    train, val, test = splits["train"], splits.get("val"), splits.get("test")
    if test is None:
        train, test = _carve(train, info, "test", class_names)
    limit = info.examples_per_class
    if limit is not None and limit < 2:
        raise DataError(
            f"dataset {info.name!r} caps a class at {limit} examples, but train and val need one each."
        )
    if limit is not None and val is not None:
        num_val = min(max(round(limit * info.val_fraction), 1), limit - 1)
        val = val.take(cap_per_class(val.ids, val.targets, num_val))
        limit -= num_val
    if limit is not None:
        train = train.take(cap_per_class(train.ids, train.targets, limit))
    if val is None:
        train, val = _carve(train, info, "val", class_names)
    return {"train": train, "val": val, "test": test}


def _carve(
    examples: Examples, info: DatasetInfo, purpose: Split, class_names: tuple[str, ...]
) -> tuple[Examples, Examples]:
    """Kept and carved examples: stratified where each has one class, else drawn from all."""
    strata = examples.targets
    if info.annotation != "classes":
        strata, class_names = np.zeros(len(examples), dtype=np.int64), ("all images",)
    try:
        kept, carved = carve(
            examples.ids, strata, info.val_fraction, purpose=purpose, class_names=class_names
        )
    except DataError as error:
        raise DataError(f"dataset {info.name!r}: {error}") from error
    return examples.take(kept), examples.take(carved)


def _require_every_class(
    splits: Mapping[Split, Examples], info: DatasetInfo, class_names: tuple[str, ...]
) -> None:
    for name in _ORDER:
        counts = np.bincount(splits[name].targets, minlength=len(class_names))
        if empty := [class_names[label] for label in np.flatnonzero(counts == 0)]:
            raise DataError(
                f"dataset {info.name!r}: class {empty[0]!r} has no example in its {name} split "
                f"({len(empty)} of {len(class_names)} classes have none), after unreadable and duplicate "
                "images were left out; add images, or remove the class from every split."
            )
