"""Reader of a folder of class folders, below split folders or not."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from raybench.catalog.dataset_sources import FolderSource
from raybench.core.errors import DataError
from raybench.core.records import Split
from raybench.data.image_files import ImageFiles, files_split, is_skipped_folder
from raybench.data.source import UNDIVIDED, SourceData, SourceSplit, choose_splits


def read_folder(source: FolderSource, splits: Mapping[Split, str], name: str) -> SourceData:
    """List the images below the folder; the class is the first folder below the split.

    Raises:
        DataError: the folder or a split's folder is missing, or a class folder holds no image.
    """
    root = Path(source.location)
    if not root.is_dir():
        raise DataError(
            f"dataset {name!r}: there is no folder {source.location!r}; "
            "write the path as seen from the experiment file, or mount it."
        )
    subfolders = sorted(e.name for e in root.iterdir() if e.is_dir() and not is_skipped_folder(e.name))
    where = f"dataset {name!r} in {source.location!r}"
    chosen = choose_splits(splits, [*subfolders, UNDIVIDED], where)
    folders = {ours: root if theirs == UNDIVIDED else root / theirs for ours, theirs in chosen.items()}
    files = {ours: _images_by_class(folder) for ours, folder in folders.items()}
    class_names = tuple(sorted(set().union(*files.values())))
    if not class_names:
        raise DataError(f"{where} has no class folders; expected FOLDER/CLASS/IMAGE below each split.")
    return SourceData(
        class_names=class_names,
        splits={ours: _split(folders[ours], files[ours], class_names, ours, where) for ours in files},
    )


def _images_by_class(folder: Path) -> dict[str, list[str]]:
    """Class → its images, as sorted paths relative to `folder`."""
    return {
        entry.name: [f"{entry.name}/{path}" for path in ImageFiles(Path(entry)).paths]
        for entry in os.scandir(folder)
        if entry.is_dir() and not is_skipped_folder(entry.name)
    }


def _split(
    folder: Path, files: dict[str, list[str]], class_names: tuple[str, ...], split: Split, where: str
) -> SourceSplit:
    for name in class_names:
        if not files.get(name):
            raise DataError(
                f"{where}: class {name!r} has no image in its {split} split ({folder / name}); "
                "add images or remove the class from every split."
            )
    ids = [path for name in class_names for path in files[name]]
    targets = np.repeat(np.arange(len(class_names)), [len(files[name]) for name in class_names])
    return files_split(folder, ids, targets)
