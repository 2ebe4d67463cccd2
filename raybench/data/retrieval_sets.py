"""Datasets divided into queries and gallery as they were published: no image is dropped from either.

Test's queries and gallery are the published ones. Val's queries, on which hyperparameters are chosen, are
taken from the rest: from test's gallery where positives follow from classes, or as whole groups of listed
queries.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from raybench.catalog.dataset_info import DatasetInfo, Queries
from raybench.core.errors import DataError
from raybench.core.records import Split, digest_of
from raybench.data.dataset import Dataset, Examples, HygieneReport, SourceReport
from raybench.data.decoding import RgbImage
from raybench.data.ground_truth import Gallery, Indices, ListedTruth
from raybench.data.hygiene import ImageCheck
from raybench.data.image_files import ImageFiles, files_split, read_file
from raybench.data.query_lists import LAYOUTS, Box, QueryList
from raybench.data.source import SourceData, SourceSplit
from raybench.data.splits import carve, draw_order

LISTED_CLASS = "any"
"""The only class name where positives are listed."""


def load_first_of_class(
    info: DatasetInfo, queries: Queries, source: SourceData, check: ImageCheck
) -> Dataset:
    """Make the first images of each class, sorted by name, queries and the rest of the class their gallery.

    Raises:
        DataError: the source has splits already, or no class is large enough for a query.

    Source: `TwoLeveldataset` of hsouri/bob-retrieval, the code of Goldblum et al. 2023.
    """
    if set(source.splits) != {"train"}:
        raise DataError(
            f"dataset {info.name!r} has the splits {', '.join(source.splits)}, but `queries: {{kind: first}}`"
            " divides a set that has none; point to one of them, or leave `queries` out."
        )
    whole = check.readable(_capped(source.splits["train"], queries.max_per_class))
    is_query = np.zeros(len(whole), dtype=bool)
    for members in _by_class(whole):
        is_query[members[: int(len(members) * queries.fraction)]] = True
    if not is_query.any():
        raise DataError(
            f"dataset {info.name!r}: no class has the {int(np.ceil(1 / queries.fraction))} images that "
            f"`fraction: {queries.fraction:g}` needs for one query; add images or raise `fraction`."
        )
    test, rest = whole.take(np.flatnonzero(is_query)), whole.take(np.flatnonzero(~is_query))
    counts = np.bincount(rest.targets, minlength=len(source.class_names))
    eligible = np.flatnonzero(counts[rest.targets] >= 2)  # A class's only image stays in the gallery.
    ids, targets = [rest.ids[i] for i in eligible], rest.targets[eligible]
    _, carved = carve(ids, targets, info.val_fraction, purpose="val", class_names=source.class_names)
    in_val = np.zeros(len(rest), dtype=bool)
    in_val[eligible[carved]] = True
    splits: dict[Split, Examples] = {
        "train": rest.take(np.flatnonzero(~in_val)),
        "val": rest.take(np.flatnonzero(in_val)),
        "test": test,
    }
    galleries: dict[Split, Gallery] = {"test": Gallery(splits=("train", "val"))}
    origins: dict[Split, str] = {
        "train": "gallery of val",
        "val": f"queries, {100 * info.val_fraction:g} % of test's gallery",
        "test": f"queries, the first {100 * queries.fraction:g} % of every class",
    }
    report = SourceReport(origins=origins, notes=source.notes)
    return Dataset(info, source.class_names, splits, check.report(), galleries=galleries, source=report)


def load_listed(info: DatasetInfo, queries: Queries, check: ImageCheck) -> Dataset:
    """Load queries, gallery and ground truth as the folder's files list them.

    Raises:
        DataError: a listed image is missing, or val would leave test no query.
    """
    folder = Path(info.source.location)
    if not folder.is_dir():
        raise DataError(f"dataset {info.name!r}: there is no folder {str(folder)!r}. {info.steps}".rstrip())
    try:
        published = LAYOUTS[queries.layout](folder, queries)
    except DataError as error:
        raise DataError(f"dataset {info.name!r}: {error}") from error
    gallery = check.readable(_files(folder, published.gallery))
    asking = check.readable(_query_images(folder, published))
    truth = published.truth.take(asking.positions).among(gallery.positions, len(published.gallery))
    if published.val is None:
        in_val = _held_out(asking.ids, truth, info)
    else:
        in_val = np.isin(asking.positions, published.val)
    members: dict[Split, Indices] = {"val": np.flatnonzero(in_val), "test": np.flatnonzero(~in_val)}
    splits: dict[Split, Examples] = {name: asking.take(indices) for name, indices in members.items()}
    return Dataset(
        info,
        (LISTED_CLASS,),
        {"train": gallery, **splits},
        check.report(),
        galleries={name: Gallery(truth=truth.take(indices)) for name, indices in members.items()},
        distractors=_distractors(info, queries, check) if queries.distractors else None,
        source=SourceReport(
            origins={"train": "gallery", "val": "queries kept for choosing", "test": "queries as listed"}
        ),
    )


def _capped(split: SourceSplit, limit: int | None) -> SourceSplit:
    """The first `limit` images of every class in the order of ids; chosen before any is decoded."""
    order = sorted(range(len(split.ids)), key=lambda i: split.ids[i])
    taken: dict[int, int] = {}
    kept = []
    for position in order:
        target = int(split.targets[position])
        taken[target] = taken.get(target, 0) + 1
        if limit is None or taken[target] <= limit:
            kept.append(position)
    return SourceSplit(
        ids=[split.ids[i] for i in kept],
        targets=split.targets[kept],
        read=lambda position: split.read(kept[position]),
        signature=f"{split.signature}/first/{limit}",
    )


def _by_class(examples: Examples) -> list[Indices]:
    return [np.flatnonzero(examples.targets == target) for target in np.unique(examples.targets)]


def _files(folder: Path, paths: Sequence[str]) -> SourceSplit:
    return files_split(folder, paths, np.zeros(len(paths), dtype=np.int64), kind="listed")


def _query_images(folder: Path, published: QueryList) -> SourceSplit:
    """Queries as a split; those with a box are cropped to it."""
    whole = _files(folder, published.queries)
    if not any(published.boxes):
        return whole
    read = partial(_read_cropped, folder, published.queries, published.boxes)
    return replace(whole, read=read, signature=f"{whole.signature}/boxes/{digest_of(published.boxes)}")


def _read_cropped(folder: Path, paths: Sequence[str], boxes: Sequence[Box | None], position: int) -> RgbImage:
    image, box = read_file(folder, paths, position), boxes[position]
    if box is None:
        return image
    height, width = image.shape[:2]
    left, top, right, bottom = (round(side) for side in box)
    cropped = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if not cropped.size:
        raise DataError(
            f"the box {list(box)} of query {str(folder / paths[position])!r} lies outside its image of "
            f"{width} × {height} pixels; correct 'bbx'."
        )
    return cropped


def _held_out(names: Sequence[str], truth: ListedTruth, info: DatasetInfo) -> np.ndarray:
    """Mask of val's queries: whole groups that share listed images, so that val and test share none.

    Groups are taken in a shuffled order while they fit into `val_fraction`; the smallest where none fits.
    """
    in_val = np.zeros(len(names), dtype=bool)
    if info.val_fraction == 0:
        return in_val
    groups = _linked_queries(truth)
    # One draw per group: the smallest of its members' draws would put large groups first.
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


def _linked_queries(truth: ListedTruth) -> list[list[int]]:
    """Connected components of the queries, two being linked if they list an image in common.

    Junk counts too, so that the groups are the same at every difficulty.
    """
    edges = [
        (query, len(truth) + image)
        for query in range(len(truth))
        for image in (*truth.positives(query).tolist(), *truth.junk(query).tolist())
    ]
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    num_nodes = max(columns, default=len(truth)) + 1
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(num_nodes, num_nodes))
    _, component = connected_components(graph, directed=False)
    members: dict[int, list[int]] = {}
    for query, number in enumerate(component[: len(truth)].tolist()):
        members.setdefault(number, []).append(query)
    return list(members.values())


def _distractors(info: DatasetInfo, queries: Queries, check: ImageCheck) -> Dataset:
    """A folder of images as a dataset of its own: train is the images, val and test are empty."""
    folder = Path(queries.distractors)
    paths = ImageFiles(folder).paths if folder.is_dir() else ()
    if not paths:
        raise DataError(
            f"dataset {info.name!r}: there is no image in the folder of distractors {queries.distractors!r}."
        )
    images = check.readable(_files(folder, paths))
    none = images.take(np.zeros(0, dtype=np.int64))
    splits: dict[Split, Examples] = {"train": images, "val": none, "test": none}
    row = replace(info, name=f"{info.name}:distractors", queries=None)
    return Dataset(row, (LISTED_CLASS,), splits, HygieneReport())
