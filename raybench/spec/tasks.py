"""Tasks and datasets of a spec file → catalogue rows, with every problem reported."""

import re
from dataclasses import replace
from pathlib import Path

from raybench.catalog.class_maps import CLASS_MAPS
from raybench.catalog.dataset_info import DatasetInfo, Shift, in_data_folder
from raybench.catalog.datasets import DATASETS, find_dataset, folder_splits
from raybench.catalog.tasks import parse_task
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest
from raybench.spec.document import Document, Location
from raybench.spec.names import Report
from raybench.spec.queries import check_listed_files, resolve_queries
from raybench.spec.schema import DatasetEntry

_SOURCES = ("folder", "torchvision", "huggingface", "parquet")


def resolve_tasks(
    names: list[tuple[int, str]], document: Document, report: Report
) -> tuple[list[str], list[str]]:
    """(Protocols in use, task names), each once and in the order of the spec."""
    tasks = _without_repeats("task", "tasks", names, document, report)
    protocols: list[str] = []
    for position, name in tasks:
        try:
            protocols.append(parse_task(name).protocol.name)
        except UnknownNameError as error:
            report(("tasks", position), str(error))
    return list(dict.fromkeys(protocols)), [name for _, name in tasks]


def resolve_datasets(
    own: dict[str, DatasetEntry | None],
    named: list[tuple[Location, str]],
    document: Document,
    report: Report,
    *,
    needs_data: bool = True,
) -> dict[str, DatasetInfo]:
    """Dataset name → row, for every name in use: the spec's own first, then the catalogue's.

    Args:
        needs_data: whether a catalogue row whose files have to be put there by hand must have them.
    """
    rows = {
        name: _own_dataset(name, entry, document, report) for name, entry in own.items() if entry is not None
    }
    found: dict[str, DatasetInfo] = {}
    pending = list(named)
    for location, name in pending:  # Grows: a dataset names its shifted test sets.
        if name in found or own.get(name, name) is None:
            continue
        try:
            found[name] = rows[name] if name in rows else _placed(find_dataset(name), document)
        except UnknownNameError as error:
            hint = suggest(name, own)
            report(location, f"unknown dataset {name!r}{hint}" if hint else str(error))
            continue
        if name not in rows and (needs_data or not is_missing(found[name])):
            _check_files(found[name], location, report)
        if found[name].test_only and location[0] == "tasks":
            report(location, f"dataset {name!r} is test-only: it has no train split for a task to fit on.")
        pending += [(("datasets", name, "shifts"), shifted) for shifted in found[name].shifts]
    return found


def _own_dataset(name: str, entry: DatasetEntry, document: Document, report: Report) -> DatasetInfo:
    location: Location = ("datasets", name)
    if name in DATASETS:
        report(location, f"dataset name {name!r} is the catalogue's own; give this one another name.")
    if any(sign in name for sign in "@: "):
        report(location, f"dataset name {name!r} must not contain '@', ':' or a space.")
    given = [source for source in _SOURCES if getattr(entry, source) is not None]
    if len(given) != 1:
        met = " and ".join(given) or "none"
        report(location, f"dataset {name!r} needs exactly one of {', '.join(_SOURCES)}, got {met}.")
        return DatasetInfo(name=name, source="folder")
    prefix = {"huggingface": "hf"}.get(given[0], given[0])
    base = _placed(find_dataset(f"{prefix}:{getattr(entry, given[0]) or '?'}"), document)
    info = DatasetInfo(
        name=name,
        source=base.source,
        location=base.location,
        splits=base.splits if entry.splits is None else entry.splits,
        num_classes=base.num_classes,
        num_images=base.num_images,
        shifts=_shifts(entry, location, report),
        queries=resolve_queries(entry, location, document, report),
        **entry.model_dump(exclude={*_SOURCES, "splits", "shifts", "queries"}),
    )
    if info.queries is not None and info.queries.kind == "first" and set(info.splits) > {"train"}:
        report(
            (*location, "queries"),
            f"{info.location!r} has folders for {', '.join(info.splits)}, but kind 'first' divides a set "
            "without splits; name one of the folders, or leave `queries` out.",
        )
    _check_files(info, (*location, given[0]), report)
    return info


def _shifts(entry: DatasetEntry, location: Location, report: Report) -> dict[str, Shift]:
    if isinstance(entry.shifts, list):
        return {name: Shift() for name in entry.shifts}
    found: dict[str, Shift] = {}
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
        found[name] = Shift(class_map=named, cue=shift.cue)
    return found


def _placed(info: DatasetInfo, document: Document) -> DatasetInfo:
    """The same with its paths made absolute: a spec's are relative to it, a row's to the data folder."""
    if info.steps:
        return in_data_folder(info)
    if info.source not in ("folder", "parquet"):
        return info
    path = document.resolve(info.location)
    splits = folder_splits(path) if info.source == "folder" else info.splits
    return replace(info, location=str(path.resolve()), splits=splits)


def is_missing(info: DatasetInfo) -> bool:
    """Whether it is a row of the catalogue whose files nobody has put in their place yet."""
    distractors = info.queries.distractors if info.queries is not None else ""
    folders = [info.location, distractors] if distractors else [info.location]
    return bool(info.steps) and not all(Path(folder).is_dir() for folder in folders)


def _check_files(info: DatasetInfo, location: Location, report: Report) -> None:
    """Folders and files that are missing are said now, not after an hour of other pairs."""
    path = Path(info.location)
    if info.source == "parquet" and not path.is_file():
        report(location, f"dataset {info.name!r}: no such Parquet file: {info.location!r}.")
    if info.source != "folder":
        return
    if is_missing(info):
        report(location, f"dataset {info.name!r} is not in {info.location!r}. {info.steps}")
        return
    if not path.is_dir():
        near = suggest(path.name, _subfolders(path.parent)) or "."
        report(location, f"dataset {info.name!r}: no such folder: {info.location!r}{near}")
        return
    if info.queries is not None and info.queries.kind == "listed":
        check_listed_files(info, location, report)
        return
    for split, name in info.splits.items():
        folder = path if name == "all" else path / name
        there = _subfolders(folder)
        if not folder.is_dir():
            hint = (
                suggest(name, _subfolders(path)) or f"; it has {', '.join(_subfolders(path)[:6]) or 'none'}."
            )
            report(location, f"dataset {info.name!r}: {str(path)!r} has no folder {name!r} for {split}{hint}")
        elif not there:
            report(location, f"dataset {info.name!r}: {str(folder)!r} has no class folders in it.")


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


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
