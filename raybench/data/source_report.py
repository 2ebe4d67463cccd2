"""How a dataset was read, in words: classes, images and origin of every split, and what was left out."""

from collections.abc import Mapping

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import KNOWN_SIZES
from raybench.catalog.folder_layout import SPLIT_SPELLINGS
from raybench.core.records import Split
from raybench.data.dataset import Dataset, SourceReport
from raybench.data.source import UNDIVIDED, SourceData

EVALUATION = "published evaluation split"
CARVED_TEST = (
    "test is carved from train, because {reason}: its numbers are not comparable with published ones, and a "
    "checkpoint that was pretrained on these images has seen them."
)
VAL_IS_TEST = (
    "test is the source's validation split, because it has no test split with labels; val is carved from "
    "train, so that no choice is made on test."
)
_CARVED_IN_ORDER: tuple[Split, ...] = ("test", "val")


def source_report(source: SourceData, info: DatasetInfo) -> SourceReport:
    """Origins and notes of a dataset that queries do not divide."""
    return _report({name: source.names.get(name, name) for name in source.splits}, info, source.notes)


def _report(names: Mapping[Split, str], info: DatasetInfo, notes: tuple[str, ...] = ()) -> SourceReport:
    """The report of a dataset whose source has these splits, by its own names for them."""
    origins = {split: _origin(name, info) for split, name in names.items()}
    is_divided = UNDIVIDED not in names.values()
    extra: list[str] = []
    if "test" in names and is_divided:
        origins["test"] += f" ({EVALUATION})"
    if not info.test_only:
        if "test" not in names:
            reason = "the source has no split for it" if is_divided else "the source is not divided"
            extra.append(CARVED_TEST.format(reason=reason))
        elif "val" not in names and names["test"].strip("/").casefold() in SPLIT_SPELLINGS["val"]:
            extra.append(VAL_IS_TEST)
        carved: tuple[Split, ...] = tuple(split for split in _CARVED_IN_ORDER if split not in names)
        for split in carved:
            rest = " after test" if split == "val" and "test" in carved else ""
            origins[split] = f"{100 * info.val_fraction:g} % of {origins['train']}{rest}, carved"
        if carved:
            origins["train"] += f" without {' and '.join(carved)}"
        if info.examples_per_class is not None:
            origins["train"] += f", at most {info.examples_per_class} of a class together with val"
    return SourceReport(origins=origins, notes=(*extra, *notes))


def _origin(name: str, info: DatasetInfo) -> str:
    if name == UNDIVIDED:
        return "all images"
    return f"folder {name}" if info.source.kind == "folder" else f"split {name!r}"


def describe(dataset: Dataset) -> tuple[str, tuple[str, ...]]:
    """Number of classes, and images and origin of every split that has images, in one line; and notes."""
    names: tuple[Split, ...] = ("train", "val", "test")
    sizes = {name: dataset.num_examples(name) for name in names if dataset.num_examples(name)}
    return _line(dataset.num_classes, sizes, dataset.source), dataset.source.notes


def describe_unread(info: DatasetInfo) -> tuple[str, tuple[str, ...]]:
    """The same from its row, for a dataset that is not read."""
    names: dict[Split, str] = dict(info.splits)
    if info.test_only:
        names = {"test": next((names[split] for split in ("test", "train", "val") if split in names), "")}
    if not any(names.values()):
        return "not here yet; its splits are told when `run` has downloaded it", ()
    report = _report(names, info)
    known = KNOWN_SIZES.get(info.source.location, {})
    order: tuple[Split, ...] = ("train", "val", "test")
    sizes = {split: known.get(names.get(split, "")) for split in order if split in report.origins}
    return _line(info.num_classes, sizes, report), report.notes


def _line(num_classes: int | None, sizes: Mapping[Split, int | None], report: SourceReport) -> str:
    parts = [] if num_classes is None else [f"{num_classes:,} class{'' if num_classes == 1 else 'es'}"]
    for split, size in sizes.items():
        number = "" if size is None else f" {size:,} image{'' if size == 1 else 's'}"
        parts.append(f"{split}{number}: {report.origins.get(split, 'as published')}")
    return "; ".join(parts)
