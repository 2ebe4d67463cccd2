"""Tasks and datasets of a spec file → catalogue rows, with every problem reported."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from raybench.catalog.class_maps import CLASS_MAPS
from raybench.catalog.dataset_info import DatasetInfo, Shift, in_data_folder
from raybench.catalog.dataset_sources import USER_SOURCES, FolderSource, ParquetSource, UserSource
from raybench.catalog.datasets import DATASETS, dataset_of, find_dataset
from raybench.catalog.folder_layout import is_skipped_folder
from raybench.catalog.tasks import parse_task
from raybench.core.errors import DataError, UnknownNameError
from raybench.core.records import Split, Task
from raybench.core.registry import suggest
from raybench.spec.document import Document, Location
from raybench.spec.names import Report
from raybench.spec.queries import check_listed_files, resolve_queries
from raybench.spec.schema import DatasetEntry

_SOURCE_SETTINGS = ("image_column", "label_column", "revision")
"""Keys of a spec's dataset that belong to its source."""


def resolve_tasks(names: list[tuple[int, str]], document: Document, report: Report) -> list[tuple[int, Task]]:
    """(Position, task) of every valid task of the spec, each once, in its order."""
    tasks: list[tuple[int, Task]] = []
    for position, name in _without_repeats("task", "tasks", names, document, report):
        try:
            tasks.append((position, parse_task(name)))
        except UnknownNameError as error:
            report(("tasks", position), str(error))
    return tasks


def resolve_datasets(
    entries: dict[str, DatasetEntry | None],
    named: list[tuple[Location, str]],
    document: Document,
    report: Report,
    *,
    needs_data: bool = True,
) -> dict[str, DatasetInfo]:
    """Dataset name → row, for every name in use: the spec's own entries first, then the catalogue's rows.

    Args:
        entries: the spec's own datasets; None for a malformed entry.
        named: names in use, each with its location in the spec.
        needs_data: whether to report missing files of a catalogue row that raybench cannot download.
    """
    spec_rows = {
        name: _own_dataset(name, entry, document, report)
        for name, entry in entries.items()
        if entry is not None
    }
    resolved: dict[str, DatasetInfo] = {}
    pending = list(named)
    for location, name in pending:  # Grows: a dataset names its shifted test sets.
        if name in resolved or entries.get(name, name) is None:
            continue
        try:
            is_fitted = location[0] == "tasks"
            info = spec_rows.get(name) or _find_dataset(name, document, is_fitted=is_fitted)
        except UnknownNameError as error:
            hint = suggest(name, entries)
            report(location, f"unknown dataset {name!r}{hint}" if hint else str(error))
            continue
        except DataError as error:
            report(location, f"dataset {name!r:.80}: {error}")
            continue
        resolved[name] = info
        if name not in spec_rows and (needs_data or not is_missing(info)):
            _check_files(info, location, report)
        if info.test_only and location[0] == "tasks":
            report(location, f"dataset {name!r} is test-only: it has no train split for a task to fit on.")
        pending += [(("datasets", name, "shifts"), shifted) for shifted in info.shifts]
    return resolved


def _find_dataset(name: str, document: Document, *, is_fitted: bool) -> DatasetInfo:
    """The dataset of a name that the spec does not define; its paths are absolute.

    A folder that only evaluators read needs no train split; without one it is test-only.
    """
    try:
        info = find_dataset(name, document.path.parent)
    except DataError:
        if is_fitted:
            raise
        info = find_dataset(name, document.path.parent, test_only=True)
    return in_data_folder(info) if info.steps else info


def _own_dataset(name: str, entry: DatasetEntry, document: Document, report: Report) -> DatasetInfo:
    location: Location = ("datasets", name)
    if name in DATASETS:
        report(location, f"dataset name {name!r} is the catalogue's own; give this one another name.")
    if any(sign in name for sign in "@: "):
        report(location, f"dataset name {name!r} must not contain '@', ':' or a space.")
    kinds = [kind for kind in USER_SOURCES if getattr(entry, kind) is not None]
    if len(kinds) != 1:
        met = " and ".join(kinds) or "none"
        report(location, f"dataset {name!r} needs exactly one of {', '.join(USER_SOURCES)}, got {met}.")
        return DatasetInfo(name=name, source=FolderSource(""))
    info = replace(
        _with_splits(name, entry, _source(entry, kinds[0], location, report), document, report),
        shifts=_shifts(entry, location, report),
        queries=resolve_queries(entry, location, document, report),
        **entry.model_dump(exclude={*USER_SOURCES, *_SOURCE_SETTINGS, "splits", "shifts", "queries"}),
    )
    if info.queries is not None and info.queries.kind == "first" and set(info.splits) > {"train"}:
        report(
            (*location, "queries"),
            f"{info.source.location!r} has folders for {', '.join(info.splits)}, but kind 'first' divides a "
            "set without splits; name one of the folders, or leave `queries` out.",
        )
    _check_files(info, (*location, kinds[0]), report)
    return info


def _with_splits(
    name: str, entry: DatasetEntry, source: UserSource, document: Document, report: Report
) -> DatasetInfo:
    """The dataset with the splits that the entry states, else with those found in its folder."""
    splits, folder = entry.splits, document.path.parent
    if splits is None and entry.queries is not None and entry.queries.kind == "listed":
        splits = {"train": "all"}  # Files list the images; names of folders mean nothing.
    try:
        return dataset_of(name, source, folder, splits=splits, test_only=entry.test_only)
    except DataError as error:
        report(("datasets", name), f"dataset {name!r}: {error}")
        return DatasetInfo(name=name, source=FolderSource(""))


def _source(entry: DatasetEntry, kind: str, location: Location, report: Report) -> UserSource:
    source = USER_SOURCES[kind]
    settings = {key: getattr(entry, key) for key in _SOURCE_SETTINGS if getattr(entry, key) is not None}
    unknown = sorted(set(settings) - {field.name for field in fields(source)})
    for key in unknown:
        report((*location, key), f"`{key}` is no setting of a dataset with `{kind}`; leave it out.")
        del settings[key]
    return source(getattr(entry, kind) or "?", **settings)


def _shifts(entry: DatasetEntry, location: Location, report: Report) -> dict[str, Shift]:
    if isinstance(entry.shifts, list):
        return {name: Shift() for name in entry.shifts}
    shifts: dict[str, Shift] = {}
    for name, shift in entry.shifts.items():
        where: Location = (*location, "shifts", name)
        try:
            class_map = shift.class_map
            if isinstance(class_map, str):
                class_map = {key: list(ids) for key, ids in CLASS_MAPS[class_map].items()}
            if re.compile(shift.cue).groups != (1 if shift.cue else 0):
                report(where, f"`cue` needs exactly one group in parentheses, got {shift.cue!r}.")
        except UnknownNameError as error:
            report(where, str(error))
            continue
        except re.error as error:
            report(where, f"`cue` is no regular expression: {error}, got {shift.cue!r}.")
            continue
        named = None if class_map is None else {key: tuple(ids) for key, ids in class_map.items()}
        shifts[name] = Shift(class_map=named, cue=shift.cue)
    return shifts


def is_missing(info: DatasetInfo) -> bool:
    """Whether it is a catalogue row that raybench cannot download and whose folders are missing."""
    distractors = info.queries.distractors if info.queries is not None else ""
    folders = [info.source.location, distractors] if distractors else [info.source.location]
    return bool(info.steps) and not all(Path(folder).is_dir() for folder in folders)


def _check_files(info: DatasetInfo, location: Location, report: Report) -> None:
    """Report missing folders and files before anything starts."""
    source, path = info.source, Path(info.source.location)
    if not source.location:  # Refused already.
        return
    if isinstance(source, ParquetSource) and not path.is_file():
        report(location, f"dataset {info.name!r}: no such Parquet file: {source.location!r}.")
    if not isinstance(source, FolderSource):
        return
    if is_missing(info):
        report(location, f"dataset {info.name!r} is not in {source.location!r}. {info.steps}")
    elif not path.is_dir():
        near = suggest(path.name, _subfolders(path.parent)) or "."
        report(location, f"dataset {info.name!r}: no such folder: {source.location!r}{near}")
    elif info.queries is not None and info.queries.kind == "listed":
        check_listed_files(info, location, report)
    else:
        _check_class_folders(info, path, location, report)


def _check_class_folders(info: DatasetInfo, path: Path, location: Location, report: Report) -> None:
    for split, name in info.splits.items():
        folder = path if name == "all" else path / name
        if not folder.is_dir():
            hint = (
                suggest(name, _subfolders(path)) or f"; it has {', '.join(_subfolders(path)[:6]) or 'none'}."
            )
            report(location, f"dataset {info.name!r}: {str(path)!r} has no folder {name!r} for {split}{hint}")
        elif not _subfolders(folder):
            remedy = _without(split, info.splits)
            report(location, f"dataset {info.name!r}: {str(folder)!r} has no class folders in it{remedy}")


def _without(split: Split, splits: Mapping[Split, str]) -> str:
    """End of a sentence: how to leave out a split without class folders, as of a test set without labels."""
    others = {ours: theirs for ours, theirs in splits.items() if ours != split}
    if "train" not in others:
        return "."
    if split == "test" and "val" in others:
        others["test"] = others.pop("val")
    mapping = ", ".join(f"{ours}: {theirs}" for ours, theirs in others.items())
    return f"; sort its images into class folders, or leave it out with `splits: {{{mapping}}}`."


def _subfolders(folder: Path) -> list[str]:
    try:
        return sorted(
            entry.name for entry in folder.iterdir() if entry.is_dir() and not is_skipped_folder(entry.name)
        )
    except OSError:  # Missing, no folder, or not to be read.
        return []


def _without_repeats(
    kind: str, key: str, names: list[tuple[int, str]], document: Document, report: Report
) -> list[tuple[int, str]]:
    first: dict[str, int] = {}
    for position, name in names:
        if name in first:
            line = document.line((key, first[name]))
            report((key, position), f"{kind} {name!r} is already listed in line {line}; keep one.")
        first.setdefault(name, position)
    return [(position, name) for name, position in first.items()]
