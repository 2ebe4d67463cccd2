"""Image files below a folder, and their lookup by path or name."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from raybench.catalog.folder_layout import IMAGE_SUFFIXES, is_skipped_folder
from raybench.core.errors import DataError
from raybench.core.records import digest_of
from raybench.core.registry import suggest
from raybench.data.decoding import RgbImage, decode, is_broken_link
from raybench.data.source import SourceSplit

MAX_COMPARED = 10_000
"""File names that an unknown name is compared with for a suggestion; a million would take minutes."""


class LeftOut:
    """Files below a folder that do not count as images: how many for each reason, and the first of them.

    Args:
        root: examples are named relative to it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, path: Path, count: int = 1) -> None:
        """Count `count` files for a reason; `path` is one of them, or their folder."""
        self._counts[reason] += count
        self._first.setdefault(reason, path.relative_to(self._root).as_posix())

    def add_folder(self, folder: Path) -> None:
        """Count the files of a hidden or system folder."""
        if num_files := sum(len(files) for _, _, files in os.walk(folder)):
            self.add("in hidden or system folders", folder, num_files)

    @property
    def sentence(self) -> str:
        """Number, reasons and an example of each; empty if nothing was left out."""
        parts = [
            f"{count:,} {reason} ({self._first[reason]!r}{'' if count == 1 else ', …'})"
            for reason, count in self._counts.most_common()
        ]
        total = self._counts.total()
        return f"{total:,} file{'' if total == 1 else 's'} left out: {'; '.join(parts)}." if parts else ""


def walk(folder: Path, left_out: LeftOut | None = None) -> Iterator[Path]:
    """Yield every image file below `folder`, following links; hidden and system folders are skipped.

    A folder that a link leads back to is not entered again below itself. A link to nothing is yielded, so
    that reading it fails by name.

    Args:
        left_out: counts the files that are not yielded.
    """
    yield from map(folder.joinpath, _relative_paths(folder, left_out))


def _relative_paths(folder: Path, left_out: LeftOut | None) -> Iterator[str]:
    # Texts rather than Paths, which cost more than the listing itself: half a minute for ImageNet.
    yield from _walk(str(folder), "", (os.path.realpath(folder),), left_out or LeftOut(folder))


def _walk(folder: str, prefix: str, ancestors: tuple[str, ...], left_out: LeftOut) -> Iterator[str]:
    # Texts rather than Paths: these cost as much as the listing itself, a minute for ImageNet.
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        is_regular = entry.is_file(follow_symlinks=False)
        if not is_regular and Path(entry.path).is_dir():
            target = os.path.realpath(entry.path)
            if is_skipped_folder(entry.name):
                left_out.add_folder(Path(entry.path))
            elif target not in ancestors:
                yield from _walk(entry.path, f"{prefix}{entry.name}/", (*ancestors, target), left_out)
        elif reason := _why_no_image(entry, is_regular=is_regular):
            left_out.add(reason, Path(entry.path))
        else:
            yield f"{prefix}{entry.name}"


def _why_no_image(entry: os.DirEntry[str], *, is_regular: bool) -> str:
    """Why a file is no image by its name and type; empty if it may be one."""
    stem, _, ending = entry.name.rpartition(".")
    suffix = f".{ending.lower()}" if stem else ""
    if entry.name.startswith("."):
        return "hidden"
    if suffix not in IMAGE_SUFFIXES:
        return f"with the suffix {suffix}" if suffix else "without a suffix"
    is_readable = is_regular or Path(entry.path).is_file() or is_broken_link(Path(entry.path))
    return "" if is_readable else "not a regular file"


class ImageFiles:
    """The images below one folder, as sorted relative paths with forward slashes on every system."""

    def __init__(self, folder: Path, left_out: LeftOut | None = None) -> None:
        self._folder = folder
        self.paths = tuple(sorted(_relative_paths(folder, left_out)))

    def below(self, subfolder: str) -> tuple[str, ...]:
        """The images in a subfolder, at any depth."""
        return tuple(path for path in self.paths if path.startswith(f"{subfolder}/"))

    def paths_of(self, names: Sequence[str], where: str) -> tuple[str, ...]:
        """The file that each name means: a path below the folder or a file name, with or without suffix.

        Raises:
            DataError: no file, or more than one, has such a name; the message begins with `where`.
        """
        matching: dict[str, set[str]] = {name: set() for name in names}
        for path in self.paths:
            file = Path(path)
            for name in {path, file.with_suffix("").as_posix(), file.name, file.stem}:
                if name in matching:
                    matching[name].add(path)
        paths = []
        for name in names:
            candidates = {name} if name in matching[name] else matching[name]
            if len(candidates) != 1:
                raise DataError(f"{where}: {self._no_single_match(name, candidates)}")
            paths.append(next(iter(candidates)))
        return tuple(paths)

    def _no_single_match(self, name: str, candidates: set[str]) -> str:
        if candidates:
            first, second = sorted(candidates)[:2]
            return (
                f"{name!r} may be {first!r} or {second!r} in {str(self._folder)!r}; write the path below it."
            )
        near = suggest(name, [Path(path).stem for path in self.paths[:MAX_COMPARED]]) or "."
        return (
            f"there is no image {name!r} below {str(self._folder)!r}, with or without a suffix such as "
            f".jpg{near}"
        )


def files_split(
    folder: Path, paths: Sequence[str], targets: Int64[np.ndarray, " n"], kind: str = "folder"
) -> SourceSplit:
    """A split of image files; ids are their paths relative to `folder`."""
    root = str(folder)
    signature = [str(folder.resolve()), [[path, *_size_and_time(f"{root}/{path}")] for path in paths]]
    return SourceSplit(
        ids=paths,
        targets=targets.astype(np.int64),
        read=partial(read_file, folder, paths),
        signature=f"{kind}/{digest_of(signature)}",
    )


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116 - of a million files.
    except OSError:  # A link to nothing: refused or skipped when it is read.
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def read_file(folder: Path, paths: Sequence[str], position: int) -> RgbImage:
    """Decode one of `paths`; an UnreadableImageError names the whole path."""
    path = folder / paths[position]
    return decode(path, repr(str(path)))
