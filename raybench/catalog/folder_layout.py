"""Which subfolders of a dataset's folder are splits and which are classes, told by names and content."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from raybench.core.errors import DataError
from raybench.core.records import Split

SPLIT_SPELLINGS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Our split → names that sources use for it, in any spelling of case."""
IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".jpx", ".avif", ".avifs", ".webp"),
        *(".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".tga"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""Of files that count as images, in any spelling of case."""
SKIPPED_FOLDERS = frozenset({"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN"})
"""Folders in which systems keep thumbnails; hidden ones (`.ipynb_checkpoints`) are skipped as well."""
_Content = Literal["classes", "images", "both", "nothing"]


def is_skipped_folder(name: str) -> bool:
    """Whether a folder of that name holds no images of a dataset: hidden, or a system's own."""
    return name.startswith(".") or name in SKIPPED_FOLDERS


def is_split_name(name: str) -> bool:
    """Whether sources use this as the name of a split: `train`, `VAL`, `Validation`."""
    return any(name.casefold() in spellings for spellings in SPLIT_SPELLINGS.values())


def spelt_splits(names: Collection[str]) -> dict[Split, str]:
    """Our split → the name that spells it; of train and val without test, val is the test split.

    A published val without a published test is what others report on, as for ImageNet; val is then carved
    from train.

    Raises:
        DataError: two names spell the same split.

    >>> spelt_splits(["Train", "VAL", "meta"])
    {'train': 'Train', 'test': 'VAL'}
    """
    splits: dict[Split, str] = {}
    for split, spellings in SPLIT_SPELLINGS.items():
        candidates = sorted(name for name in names if name.casefold() in spellings)
        if len(candidates) > 1:
            raise DataError(
                f"{' and '.join(map(repr, candidates))} may each be the {split} split; "
                f"say which one is with `splits: {{{split}: NAME, ...}}`."
            )
        if candidates:
            splits[split] = candidates[0]
    if "train" in splits and "val" in splits and "test" not in splits:
        splits["test"] = splits.pop("val")
    return splits


def folder_splits(folder: Path, *, test_only: bool = False) -> dict[Split, str]:
    """Our split → subfolder; `{"train": "all"}` for a folder of class folders without splits.

    A subfolder with a split's name is a class if it holds images and lies beside other classes (VisDA's class
    `train`); it is a split if it holds folders.

    Args:
        test_only: whether the only split is test; a folder for train may then be missing.

    Raises:
        DataError: both are possible, or there are other splits but no train.
    """
    contents = {path.name: _content(path) for path in _subfolders(folder)}
    named = [name for name in contents if is_split_name(name)]
    others = {content for name, content in contents.items() if name not in named}
    is_beside_classes = bool(others & {"images", "both"})
    if is_beside_classes:
        named = [name for name in named if contents[name] in ("classes", "nothing")]
    if test_only and len(contents) == 1 and set(contents.values()) == {"images"}:
        return {"train": "all"}  # Images without a class, as of an out-of-distribution set.
    splits = spelt_splits(named)
    if not splits:
        return {"train": "all"}
    if test_only:
        return splits if {"train", "test"} & set(splits) else {"test": next(iter(splits.values()))}
    listing = ", ".join(sorted(named))
    if "train" not in splits:
        raise DataError(
            f"{str(folder)!r} has the split {listing} but none for train; name its folder with "
            "`splits: {train: NAME, ...}`, write `test_only: true` if it is only measured on, or "
            "`splits: {train: all}` if all of its folders are classes."
        )
    if is_beside_classes and len(splits) == 1:
        raise DataError(
            f"{str(folder)!r} has a folder {listing!r} with folders in it beside folders of images, so it "
            f"may be a split or a class; write `splits: {{train: {listing}}}` or `splits: {{train: all}}`."
        )
    return splits


def _subfolders(folder: Path) -> list[Path]:
    """Sorted folders that may be splits or classes."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_skipped_folder(path.name))
    except OSError:  # Missing, no folder, or not to be read.
        return []


def _content(folder: Path) -> _Content:
    """Whether a folder directly holds class folders, images, both or nothing; stops once it holds both."""
    has_folders = has_images = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                has_folders |= not is_skipped_folder(entry.name)
            elif not entry.name.startswith("."):
                has_images |= Path(entry.name).suffix.lower() in IMAGE_SUFFIXES
            if has_folders and has_images:
                return "both"
    return "classes" if has_folders else "images" if has_images else "nothing"
