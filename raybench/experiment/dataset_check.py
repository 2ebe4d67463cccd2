"""Datasets of a spec before anything starts: how each is read, and its damaged or duplicate images."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Timer

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import BUILT_IN, KNOWN_SIZES
from raybench.core.errors import DataError
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset, outline_dataset
from raybench.data.source import MAY_DOWNLOAD, NotDownloadedError
from raybench.data.source_report import describe, describe_unread
from raybench.features.shards import num_shards
from raybench.spec import ExperimentSpec
from raybench.spec.plan import wrapped
from raybench.spec.tasks import is_missing
from raybench.store.files import StoragePath
from raybench.store.layout import image_hashes_dir

SLOW_SECONDS = 10.0
"""Decoding that takes longer is announced."""


def describe_datasets(spec: ExperimentSpec) -> str:
    """Text for a terminal: of every dataset classes, images and origins of its splits, and what was left out.

    Files are listed and labels are read, but no image is decoded and nothing downloaded.

    Raises:
        DataError: datasets cannot be read as described; one sentence for each.
    """
    lines: list[str] = []
    problems: list[str] = []
    for name, info in spec.datasets.items():
        try:
            outline = _outline(info, spec)
        except DataError as error:
            problems.append(str(error))
            continue
        text, notes = describe_unread(info) if outline is None else describe(outline)
        lines.append(wrapped("dataset         ", f"{name}: {text}."))
        lines += [wrapped("note            ", f"dataset {name!r}: {note}") for note in notes]
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class CheckedImages:
    """Outcome of decoding every image once."""

    left_out: list[str]
    """Sentences on images that were left out."""
    num_shards: dict[str, int]
    """Dataset → shards of its features; those that were not read are missing."""


def check_images(spec: ExperimentSpec, storage: StoragePath, note: Callable[[str], None]) -> CheckedImages:
    """Download what is missing and decode every image once, before workers do the same at the same time.

    Pixel hashes are kept in the storage, so an image that did not change is not decoded again. A dataset that
    cannot be read is noted only: the trials on it fail, the others run.

    Args:
        note: is given a sentence at a time.
    """
    left_out: list[str] = []
    shards: dict[str, int] = {}
    for name, info in spec.datasets.items():
        if info.source.kind == "function" and (outline := _outline(info, spec)) is not None:
            shards[name] = num_shards(outline, spec.resources.images_per_shard)
        if info.source.kind == "function" or is_missing(info):
            continue
        is_new = info.source.kind not in ("folder", "parquet") and _outline(info, spec) is None
        slow = Timer(SLOW_SECONDS, note, [f"still decoding the images of {name!r}, once for this storage"])
        slow.daemon = True
        slow.start()
        try:
            dataset = load_dataset(info, cache=image_hashes_dir(storage))
        except DataError as error:
            note(f"trials on dataset {name!r} will fail: {error}")
            continue
        finally:
            slow.cancel()
        if is_new:
            text, notes = describe(dataset)
            for sentence in (f"dataset {name!r} is downloaded: {text}.", *notes):
                note(sentence)
        shards[name] = num_shards(dataset, spec.resources.images_per_shard)
        left_out += dataset.hygiene.sentences(name)
        for sentence in dataset.hygiene.sentences(name):
            note(sentence)
    return CheckedImages(left_out=left_out, num_shards=shards)


def _require_two_classes(dataset: Dataset, spec: ExperimentSpec) -> None:
    """Refuse a dataset of one class for protocols that classify."""
    protocols = {task.protocol for task in spec.tasks if task.dataset == dataset.info.name}
    if dataset.num_classes == 1 and protocols - {"retrieval"}:
        raise DataError(
            f"dataset {dataset.info.name!r} has a single class, {dataset.class_names[0]!r}, and a classifier "
            "needs two; is its path one folder too high or too deep?"
        )


def _outline(info: DatasetInfo, spec: ExperimentSpec) -> Dataset | None:
    """The dataset without its images; None if it is not on this machine or takes long to read."""
    source = info.source
    is_slow = source.kind == "function" and (
        source.location in KNOWN_SIZES or source.location not in BUILT_IN
    )
    if is_slow or is_missing(info):
        return None
    token = MAY_DOWNLOAD.set(False)
    try:
        dataset = outline_dataset(info)
        _require_two_classes(dataset, spec)
        return dataset
    except NotDownloadedError:
        return None
    finally:
        MAY_DOWNLOAD.reset(token)
