"""Image files below a folder, and their lookup by path or name."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from raybench.core.errors import DataError
from raybench.core.records import digest_of
from raybench.core.registry import suggest
from raybench.data.decoding import RgbImage, decode
from raybench.data.source import SourceSplit

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

MAX_COMPARED = 10_000
"""File names that an unknown name is compared with for a suggestion; a million would take minutes."""


def is_skipped_folder(name: str) -> bool:
    """Whether a folder of that name holds no images of a dataset: hidden, or a system's own."""
    return name.startswith(".") or name in SKIPPED_FOLDERS


def walk(folder: Path) -> Iterator[Path]:
    """Yield every image file below `folder`, following links; hidden and system folders are skipped.

    A folder that a link leads back to is not entered again below itself.
    """
    yield from _walk(folder, (folder.resolve(),))


def _walk(folder: Path, ancestors: tuple[Path, ...]) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_dir():
            target = path.resolve()
            if not is_skipped_folder(entry.name) and target not in ancestors:
                yield from _walk(path, (*ancestors, target))
        elif not entry.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


class ImageFiles:
    """The images below one folder, as sorted relative paths with forward slashes on every system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.paths = tuple(sorted(path.relative_to(folder).as_posix() for path in walk(folder)))

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
    stats = [(folder / path).stat() for path in paths]
    signature = [
        str(folder.resolve()),
        [[path, stat.st_size, stat.st_mtime_ns] for path, stat in zip(paths, stats, strict=True)],
    ]
    return SourceSplit(
        ids=paths,
        targets=targets.astype(np.int64),
        read=partial(read_file, folder, paths),
        signature=f"{kind}/{digest_of(signature)}",
    )


def read_file(folder: Path, paths: Sequence[str], position: int) -> RgbImage:
    """Decode one of `paths`; an UnreadableImageError names the whole path."""
    path = folder / paths[position]
    return decode(path, repr(str(path)))
