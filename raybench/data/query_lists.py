"""Readers of published query lists: queries, gallery and ground truth; one function per layout of the folder.

No ground truth is read from a pickle, because a pickle can run code when it is opened.
"""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raybench.catalog.dataset_info import Queries
from raybench.catalog.retrieval_datasets import REVISITED_TO_JSON
from raybench.core.errors import DataError
from raybench.data.ground_truth import Indices, ListedTruth
from raybench.data.image_files import ImageFiles

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the image."""
NO_INDICES: Indices = np.empty(0, np.int64)
POSITIVE_LISTS = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}
"""Difficulty → lists whose images are positive; images of the other lists are junk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryList:
    """Queries, gallery and ground truth; images are paths below one folder."""

    gallery: tuple[str, ...]
    queries: tuple[str, ...]
    truth: ListedTruth
    boxes: tuple[Box | None, ...]
    """Per query the part of the image to crop to; None is the whole image."""
    val: Indices | None = None
    """Queries that the publishers mark for validation; None where they mark none."""


def read_json(folder: Path, settings: Queries) -> QueryList:
    """Read revisitop's ground truth as JSON, or one of the same format.

    A query that is itself in the gallery is junk of its own, unless its lists name it.

    Keys: `imlist`, the gallery's names; `qimlist`, the queries' names; `gnd`, per query a mapping with lists
    of gallery positions (from 0) or names: `easy` and `hard`, or `ok` where positives are not graded; `junk`
    if there is any; `bbx`, the query's box, if it has one. A name is a path below the folder, or the name of
    a file, with or without its suffix.

    Raises:
        DataError: the file is not such JSON, or no image has a name or position in it.

    Source: Radenović et al., "Revisiting Oxford and Paris", CVPR 2018; the keys are `gnd_roxford5k.pkl`'s.
    """
    path, files = folder / settings.file, ImageFiles(folder)
    content = _read_ground_truth(path)
    gallery, queries = ([str(name) for name in content[key]] for key in ("imlist", "qimlist"))
    entries = content["gnd"]
    if len(entries) != len(queries):
        raise DataError(f"{str(path)!r} has {len(queries)} queries in 'qimlist' but {len(entries)} in 'gnd'.")
    gallery_paths, query_paths = (
        _once_each(files.paths_of(names, f"{str(path)!r}, {key!r}"), names, path, key)
        for key, names in (("imlist", gallery), ("qimlist", queries))
    )
    index_of = {name: i for i, name in enumerate(gallery)}
    index_of_path = {file: i for i, file in enumerate(gallery_paths)}
    positive_lists, junk_lists, boxes = [], [], []
    for name, file, entry in zip(queries, query_paths, entries, strict=True):
        where = f"{str(path)!r}, query {name!r}"
        positives, junk = (_indices(entry, keys, index_of, where) for keys in _keys(entry, settings, where))
        if common := sorted({*positives.tolist()} & {*junk.tolist()}):
            raise DataError(
                f"{where}: image {gallery[common[0]]!r} is both positive and junk; it can be one."
            )
        self_index = index_of_path.get(file)
        if self_index is not None and self_index not in positives:
            junk = np.union1d(junk, [self_index]).astype(np.int64)
        positive_lists.append(positives)
        junk_lists.append(junk)
        boxes.append(_box(entry, where) if settings.crop else None)
    return QueryList(
        gallery=gallery_paths,
        queries=query_paths,
        truth=ListedTruth(positive_lists, junk_lists),
        boxes=tuple(boxes),
    )


def read_copydays(folder: Path, settings: Queries) -> QueryList:
    """Read INRIA Copydays: queries are the copies in `strong/`, positives their photographs in `original/`.

    Names begin with four digits that a photograph and its copies share.

    Raises:
        DataError: a folder is missing or empty, or a copy has no original.

    Source: Douze et al., "Evaluation of GIST descriptors for web-scale image search", CIVR 2009.
    """
    files = ImageFiles(folder)
    originals, copies = files.below("original"), files.below("strong")
    for name, images in (("original", originals), ("strong", copies)):
        if not images:
            raise DataError(f"there is no image in {str(folder / name)!r}; put Copydays' {name} ones there.")
    by_prefix: dict[str, list[int]] = {}
    for i, path in enumerate(originals):
        by_prefix.setdefault(Path(path).name[:4], []).append(i)
    if orphans := [path for path in copies if Path(path).name[:4] not in by_prefix]:
        raise DataError(
            f"{str(folder / orphans[0])!r} has no original whose name begins with the same 4 digits."
        )
    positives = [np.array(by_prefix[Path(path).name[:4]], dtype=np.int64) for path in copies]
    return QueryList(
        gallery=originals,
        queries=copies,
        truth=ListedTruth(positives, [NO_INDICES] * len(copies)),
        boxes=(None,) * len(copies),
    )


def read_landmarks(folder: Path, settings: Queries) -> QueryList:
    """Read Google Landmarks v2: queries in `test/`, gallery in `index/`, ground truth in a CSV file.

    Queries marked Public are val's, those marked Private test's; ignored ones are left out.

    Raises:
        DataError: the CSV is missing or lacks a column, or an image that it names is not there.

    Source: Weyand et al., "Google Landmarks Dataset v2", CVPR 2020.
    """
    path, files = folder / settings.file, ImageFiles(folder)
    try:
        rows = [row for row in _read_solution(path) if row["images"] != "None"]
        ids, listed = [row["id"] for row in rows], [row["images"].split() for row in rows]
        is_public = np.array([row["Usage"] == "Public" for row in rows])
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{str(path)!r} is not the retrieval solution with columns id, images and Usage ({error!r})."
        ) from error
    gallery = files.below("index")
    index_of = {Path(name).stem: i for i, name in enumerate(gallery)}
    positives = [
        _indices({"images": names}, ("images",), index_of, f"{str(path)!r}, query {query!r}")
        for query, names in zip(ids, listed, strict=True)
    ]
    return QueryList(
        gallery=gallery,
        queries=files.paths_of(ids, f"{str(path)!r}, column id"),
        truth=ListedTruth(positives, [NO_INDICES] * len(ids)),
        boxes=(None,) * len(ids),
        val=np.flatnonzero(is_public),
    )


LAYOUTS: Mapping[str, Callable[[Path, Queries], QueryList]] = {
    "json": read_json,
    "copydays": read_copydays,
    "landmarks": read_landmarks,
}
"""`Queries.layout` → its reader."""


def _read_solution(path: Path) -> list[dict[str, str]]:
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if not any(value and value.strip() for value in row.values() if isinstance(value, str)):
                continue  # A blank line, as at the end.
            if None in (row["id"], row["images"], row["Usage"]):
                raise DataError(
                    f"{str(path)!r}, line {reader.line_num}: the line ends before it has an id, images and "
                    "Usage; the file may be cut off, fetch it again."
                )
            rows.append(row)
    return rows


def _once_each(paths: tuple[str, ...], names: Sequence[str], file: Path, key: str) -> tuple[str, ...]:
    """Return the paths; refuse a file that is named twice, by one spelling or two."""
    seen: set[str] = set()
    for path, name in zip(paths, names, strict=True):
        if path in seen:
            raise DataError(f"{str(file)!r} lists {name!r} twice in {key!r}; list every image once.")
        seen.add(path)
    return paths


def _read_ground_truth(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: a thousand levels of lists.
        raise DataError(f"{str(path)!r} is no ground truth in JSON ({error}). {REVISITED_TO_JSON}") from error
    keys = ("imlist", "qimlist", "gnd")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise DataError(f"{str(path)!r} must be a mapping with the lists 'imlist', 'qimlist' and 'gnd'.")
    return content


def _keys(entry: Any, settings: Queries, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys of the lists whose images are positive, and of those whose images are junk.

    Source: Radenović et al., CVPR 2018, section 3.
    """
    if isinstance(entry, dict) and "ok" in entry and settings.difficulty == "medium":
        return ("ok",), ("junk",)
    if isinstance(entry, dict) and {"easy", "hard"} <= set(entry):
        positive = POSITIVE_LISTS[settings.difficulty]
        return positive, tuple(key for key in ("easy", "hard", "junk") if key not in positive)
    if isinstance(entry, dict) and "ok" in entry:
        raise DataError(
            f"{where}: positives are listed as 'ok', without grades, so there is no "
            f"{settings.difficulty!r}; leave `difficulty` out."
        )
    raise DataError(f"{where}: 'gnd' needs the lists 'easy' and 'hard', or 'ok'; got {entry!r:.80}.")


def _indices(
    entry: Mapping[str, Any], keys: Sequence[str], index_of: Mapping[str, int], where: str
) -> Indices:
    """Gallery indices of all images in some of an entry's lists, ascending."""
    indices = []
    for key in keys:
        images = entry.get(key, [])
        if not isinstance(images, list):
            raise DataError(
                f"{where}: {key!r} must be a list of gallery positions or names, got {images!r:.60}."
            )
        for image in images:
            index = index_of.get(image, -1) if isinstance(image, str) else image
            is_index = isinstance(index, int) and not isinstance(index, bool)
            if not is_index or not 0 <= index < len(index_of):
                raise DataError(
                    f"{where}: {key!r} names {image!r}, which is neither an image of the gallery nor a "
                    f"position in [0, {len(index_of)})."
                )
            indices.append(index)
    return np.unique(np.array(indices, dtype=np.int64))


def _box(entry: Mapping[str, Any], where: str) -> Box | None:
    box = entry.get("bbx")
    if box is None:
        return None
    largest = sys.float_info.max  # JSON's 1e400 is infinity, and its integers have no limit.
    is_box = (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(x, int | float) and abs(x) <= largest for x in box)
    )
    if not is_box or not (box[0] < box[2] and box[1] < box[3]):
        raise DataError(f"{where}: 'bbx' must be [left, top, right, bottom] in pixels, got {box!r:.60}.")
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
