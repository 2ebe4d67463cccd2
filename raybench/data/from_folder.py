"""Reader of a folder of class folders, below split folders or not."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.folder_layout import IMAGE_SUFFIXES, folder_splits, is_skipped_folder, is_split_name
from raybench.core.errors import DataError
from raybench.core.records import Split
from raybench.data.image_files import ImageFiles, LeftOut, files_split
from raybench.data.source import UNDIVIDED, SourceData, SourceSplit, choose_splits, require_distinct


def read_folder(source: FolderSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """List the images below the folder; the class is the first folder below the split.

    Raises:
        DataError: the folder or a split's folder is missing or may not be read, or a class folder holds no
            image.
    """
    root = Path(source.location)
    if not root.is_dir():
        raise DataError(
            f"dataset {name!r}: there is no folder {source.location!r}; "
            "write the path as seen from the experiment file, or mount it."
        )
    where = f"dataset {name!r} in {source.location!r}"
    try:
        return _read(root, splits, where)
    except OSError as error:
        raise DataError(f"{where}: {error.filename!r} cannot be read ({error.strerror}).") from error


def _read(root: Path, splits: Mapping[Split, str], where: str) -> SourceData:
    subfolders = sorted(p.name for p in root.iterdir() if p.is_dir() and not is_skipped_folder(p.name))
    chosen = choose_splits(splits or folder_splits(root), [*subfolders, UNDIVIDED], where)
    folders = {ours: root if theirs == UNDIVIDED else root / theirs for ours, theirs in chosen.items()}
    left_out = LeftOut(root)
    if root not in folders.values():
        _count_loose_images(root, left_out)
    files = {ours: _images_by_class(folder, left_out) for ours, folder in folders.items()}
    class_names = tuple(sorted(set().union(*files.values())))
    if not class_names:
        raise DataError(f"{where} has no class folders; expected FOLDER/CLASS/IMAGE below each split.")
    require_distinct(class_names, where)
    for ours, images in files.items():
        if empty := [name for name in class_names if not images.get(name)]:
            raise DataError(
                f"{where}: class {empty[0]!r} has no image in its {ours} split ({folders[ours] / empty[0]}); "
                f"add images or remove the class from every split. {left_out.sentence}".rstrip()
            )
    return SourceData(
        class_names=class_names,
        splits={ours: _split(folders[ours], files[ours], class_names) for ours in files},
        names={ours: theirs if theirs == UNDIVIDED else f"{theirs}/" for ours, theirs in chosen.items()},
        notes=tuple(filter(None, (_note_on_names(chosen, subfolders), left_out.sentence))),
    )


def _note_on_names(chosen: Mapping[Split, str], subfolders: list[str]) -> str:
    """Subfolders with a split's name that are classes, or that are not read; empty if there are none."""
    if UNDIVIDED in chosen.values():
        names = [name for name in subfolders if is_split_name(name)]
        what = "read as a class; if it is a split, say so under `splits`"
    else:
        names = [name for name in subfolders if name not in chosen.values()]
        what = "not read, because it is none of the splits"
    return f"folder {', '.join(f'{name}/' for name in names)} is {what}." if names else ""


def _count_loose_images(folder: Path, left_out: LeftOut) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir():
            left_out.add("outside class folders", path)


def _images_by_class(folder: Path, left_out: LeftOut) -> dict[str, list[str]]:
    """Class → its images, as sorted paths relative to `folder`."""
    images: dict[str, list[str]] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if not path.is_dir():
            left_out.add("outside class folders", path)
        elif is_skipped_folder(entry.name):
            left_out.add_folder(path)
        else:
            images[entry.name] = [f"{entry.name}/{file}" for file in ImageFiles(path, left_out).paths]
    return images


def _split(folder: Path, files: dict[str, list[str]], class_names: tuple[str, ...]) -> SourceSplit:
    ids = [path for name in class_names for path in files[name]]
    targets = np.repeat(np.arange(len(class_names)), [len(files[name]) for name in class_names])
    return files_split(folder, ids, targets)
