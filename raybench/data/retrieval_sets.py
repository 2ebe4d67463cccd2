"""Datasets that are divided into queries and gallery, as they were published: nothing is dropped from either.

Test's queries and what they search in are the published ones. Val, by which is chosen, is made of what that
leaves: of test's gallery, where classes say what belongs together, or of whole groups of listed queries.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from raybench.catalog.dataset_info import DatasetInfo, Queries
from raybench.core.errors import DataError
from raybench.core.records import Split, digest_of
from raybench.data.dataset import Dataset, Examples, HygieneReport
from raybench.data.decoding import RgbImage
from raybench.data.ground_truth import Gallery, Indices, ListedTruth
from raybench.data.image_files import ImageFiles, files_split, read_file
from raybench.data.listings import LAYOUTS, Box, Listing
from raybench.data.readable import Readable
from raybench.data.source import Source, SourceSplit
from raybench.data.splits import carve, draw_order

LISTED_CLASS = "any"
"""The one class of images whose positives are listed."""


def first_of_each_class(info: DatasetInfo, queries: Queries, source: Source, readable: Readable) -> Dataset:
    """The paper's rule: of each class the first images, sorted by name, ask for the others.

    Raises:
        DataError: the source is divided already, or no class is large enough for a query.

    Source: `TwoLeveldataset` of hsouri/bob-retrieval (bob/inventory 3.6).
    """
    if set(source.splits) != {"train"}:
        raise DataError(
            f"dataset {info.name!r} has the splits {', '.join(source.splits)}, but `queries: {{kind: first}}`"
            " divides a set that has none; point to one of them, or leave `queries` out."
        )
    whole = readable(_capped(source.splits["train"], queries.max_per_class))
    asks = np.zeros(len(whole), dtype=bool)
    for members in _by_class(whole):
        asks[members[: int(len(members) * queries.fraction)]] = True
    if not asks.any():
        raise DataError(
            f"dataset {info.name!r}: no class has the {int(np.ceil(1 / queries.fraction))} images that "
            f"`fraction: {queries.fraction:g}` needs for one query; add images or raise `fraction`."
        )
    test, rest = whole.take(np.flatnonzero(asks)), whole.take(np.flatnonzero(~asks))
    counts = np.bincount(rest.targets, minlength=len(source.class_names))
    can_ask = np.flatnonzero(counts[rest.targets] >= 2)  # The others keep to the gallery.
    ids, targets = [rest.ids[i] for i in can_ask], rest.targets[can_ask]
    _, carved = carve(ids, targets, info.val_fraction, purpose="val", class_names=source.class_names)
    in_val = np.zeros(len(rest), dtype=bool)
    in_val[can_ask[carved]] = True
    splits: dict[Split, Examples] = {
        "train": rest.take(np.flatnonzero(~in_val)),
        "val": rest.take(np.flatnonzero(in_val)),
        "test": test,
    }
    galleries: dict[Split, Gallery] = {"test": Gallery(splits=("train", "val"))}
    return Dataset(info, source.class_names, splits, readable.report(), galleries=galleries)


def listed(info: DatasetInfo, queries: Queries, readable: Readable) -> Dataset:
    """Queries, gallery and ground truth as the folder's files list them.

    Raises:
        DataError: what is listed is not there, or val would leave test nothing.
    """
    folder = Path(info.location)
    if not folder.is_dir():
        raise DataError(f"dataset {info.name!r}: there is no folder {info.location!r}. {info.steps}".rstrip())
    try:
        listing = LAYOUTS[queries.layout](folder, queries)
    except DataError as error:
        raise DataError(f"dataset {info.name!r}: {error}") from error
    gallery, asked = readable(_files(folder, listing.gallery)), readable(_queries(folder, listing))
    truth = listing.truth.take(asked.positions).among(gallery.positions, len(listing.gallery))
    names = [listing.queries[i] for i in asked.positions]
    val = listing.val
    in_val = _held_out(names, truth, info) if val is None else np.isin(asked.positions, val)
    sides: dict[Split, Indices] = {"val": np.flatnonzero(in_val), "test": np.flatnonzero(~in_val)}
    splits: dict[Split, Examples] = {name: asked.take(side) for name, side in sides.items()}
    galleries: dict[Split, Gallery] = {n: Gallery(truth=truth.take(side)) for n, side in sides.items()}
    distractors = _distractors(info, queries, readable) if queries.distractors else None
    return Dataset(
        info,
        (LISTED_CLASS,),
        {"train": gallery, **splits},
        readable.report(),
        galleries=galleries,
        distractors=distractors,
    )


def _capped(split: SourceSplit, limit: int | None) -> SourceSplit:
    """The first `limit` images of every class in the order of ids, before any is decoded."""
    order = sorted(range(len(split.ids)), key=lambda i: split.ids[i])
    taken: dict[int, int] = {}
    kept = []
    for position in order:
        label = int(split.labels[position])
        taken[label] = taken.get(label, 0) + 1
        if limit is None or taken[label] <= limit:
            kept.append(position)
    return SourceSplit(
        ids=[split.ids[i] for i in kept],
        labels=split.labels[kept],
        read=lambda position: split.read(kept[position]),
        signature=f"{split.signature}/first/{limit}",
    )


def _by_class(examples: Examples) -> list[Indices]:
    return [np.flatnonzero(examples.targets == label) for label in np.unique(examples.targets)]


def _files(folder: Path, paths: Sequence[str]) -> SourceSplit:
    return files_split(folder, paths, np.zeros(len(paths), dtype=np.int64), kind="listed")


def _queries(folder: Path, listing: Listing) -> SourceSplit:
    """Queries as a split: those with a box are cut to it."""
    whole = _files(folder, listing.queries)
    if not any(listing.boxes):
        return whole
    read = partial(_read_boxed, folder, listing.queries, listing.boxes)
    return replace(whole, read=read, signature=f"{whole.signature}/boxes/{digest_of(listing.boxes)}")


def _read_boxed(folder: Path, paths: Sequence[str], boxes: Sequence[Box | None], position: int) -> RgbImage:
    image, box = read_file(folder, paths, position), boxes[position]
    if box is None:
        return image
    height, width = image.shape[:2]
    left, top, right, bottom = (round(side) for side in box)
    cut = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if not cut.size:
        raise DataError(
            f"the box {list(box)} of query {str(folder / paths[position])!r} lies outside its image of "
            f"{width} × {height} pixels; correct 'bbx'."
        )
    return cut


def _held_out(names: Sequence[str], truth: ListedTruth, info: DatasetInfo) -> np.ndarray:
    """Mask of the queries kept for choosing: whole groups that share listed images, so that nothing is chosen
    by an image that test asks for.

    Groups in a drawn order, each that still fits into `val_fraction`; the smallest where none does.
    """
    in_val = np.zeros(len(names), dtype=bool)
    if info.val_fraction == 0:
        return in_val
    groups = _sharing(truth)
    # One draw a group: the smallest of its members' draws would put large groups first.
    keys = draw_order([min(names[i] for i in members) for members in groups], "val")
    groups = [groups[i] for i in sorted(range(len(groups)), key=keys.__getitem__)]
    if len(groups) == 1:
        raise DataError(
            f"dataset {info.name!r}: all {len(names)} queries share positives, so none can be kept for "
            "choosing; set `val_fraction: 0` and take fixed hyperparameters (`preset: paper`)."
        )
    target = max(1, min(round(len(names) * info.val_fraction), len(names) - 1))  # Test keeps a group.
    for members in groups:
        if in_val.sum() + len(members) <= target:
            in_val[members] = True
    if not in_val.any():
        in_val[min(groups, key=len)] = True
    return in_val


def _sharing(truth: ListedTruth) -> list[list[int]]:
    """Queries in groups: two are in one if they list an image in common, or a third stands between them.

    Junk counts too, so that the groups are the same at every difficulty.
    """
    leader = list(range(len(truth)))

    def leader_of(query: int) -> int:
        while leader[query] != query:
            leader[query] = query = leader[leader[query]]
        return query

    first_with: dict[int, int] = {}
    for query in range(len(truth)):
        for image in (*truth.positives(query).tolist(), *truth.junk(query).tolist()):
            leader[leader_of(query)] = leader_of(first_with.setdefault(image, query))
    groups: dict[int, list[int]] = {}
    for query in range(len(truth)):
        groups.setdefault(leader_of(query), []).append(query)
    return list(groups.values())


def _distractors(info: DatasetInfo, queries: Queries, readable: Readable) -> Dataset:
    """A folder of images as a dataset of its own: its train is the images, all else is empty."""
    folder = Path(queries.distractors)
    paths = ImageFiles(folder).paths if folder.is_dir() else ()
    if not paths:
        raise DataError(
            f"dataset {info.name!r}: there is no image in the folder of distractors {queries.distractors!r}."
        )
    images = readable(_files(folder, paths))
    none = images.take(np.zeros(0, dtype=np.int64))
    splits: dict[Split, Examples] = {"train": images, "val": none, "test": none}
    own = replace(info, name=f"{info.name}:distractors", queries=None)
    return Dataset(own, (LISTED_CLASS,), splits, HygieneReport())
