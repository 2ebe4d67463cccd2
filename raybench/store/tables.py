"""Parquet tables of a storage: one file per trial, read as one frame."""

import functools
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from raybench.core.errors import StorageError
from raybench.store.files import StoragePath, glob_sorted, map_concurrently
from raybench.store.result_files import Checksums, verified_source, write_result

SCHEMA_VERSION = 1
"""Incremented when a column changes its meaning. Every file's metadata holds it as `raybench.schema`."""

_VERSION_KEY = "raybench.schema"


def write_table(path: StoragePath, frame: pl.DataFrame) -> dict[str, str]:
    """Create or replace one Parquet file atomically; return its checksum for the trial's record.

    Raises:
        StorageUnavailableError: if the storage cannot be written.
    """
    buffer = BytesIO()
    frame.write_parquet(buffer, metadata={_VERSION_KEY: str(SCHEMA_VERSION)})
    return write_result(path, buffer.getvalue())


def table_files(folder: StoragePath, experiment: str | None) -> list[StoragePath]:
    """Sorted files of one experiment, or of all.

    Raises:
        StorageError: if there is no storage.
    """
    if not folder.parent.is_dir():
        raise StorageError(
            f"no storage at {str(folder.parent)!r}; give the folder that `raybench run` named."
        )
    # The name is joined, not globbed: it may hold wildcard characters.
    if experiment is None:
        return glob_sorted(folder, "*/*.parquet")
    return glob_sorted(folder / experiment, "*.parquet")


def read_tables(files: Sequence[StoragePath], schema: pl.Schema, checksums: Checksums) -> pl.DataFrame:
    """All rows of the files, with the columns of `schema`.

    Raises:
        StorageError: if a file cannot be read, or is not as it was written.
    """
    read = functools.partial(_source, checksums=checksums)
    sources: list[Any] = map_concurrently(read, files, *files[:1])
    for file, source in zip(files, sources, strict=True):
        _require_version(file, source)
    try:  # All files in one call, which is eight times as fast as one by one.
        frames = [pl.read_parquet(sources, glob=False).select(schema.names())] if files else []
    except (OSError, pl.exceptions.PolarsError):  # Find the file to blame.
        frames = [read_table(file, schema, checksums) for file in files]
    return pl.concat([pl.DataFrame(schema=schema), *(frame.cast(schema) for frame in frames)])


def read_table(file: StoragePath, schema: pl.Schema, checksums: Checksums) -> pl.DataFrame:
    """The rows of one file.

    Raises:
        StorageError: if it cannot be read, or is not as it was written; the message names the file.
    """
    source = _source(file, checksums)
    try:
        return pl.read_parquet(source, glob=False).select(schema.names())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(file, error) from error


def _source(file: StoragePath, checksums: Checksums) -> Path | BytesIO:
    try:
        return verified_source(file, checksums)
    except OSError as error:
        raise _unreadable(file, error) from error


def _require_version(file: StoragePath, source: Path | BytesIO) -> None:
    try:
        version = int(pl.read_parquet_metadata(source).get(_VERSION_KEY, "0"))
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise _unreadable(file, error) from error
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"{str(file)!r} has table version {version}, this raybench reads version {SCHEMA_VERSION}; "
            f"{'upgrade raybench' if version > SCHEMA_VERSION else 'it was not written by raybench'}."
        )


def _unreadable(file: StoragePath, error: Exception) -> StorageError:
    return StorageError(
        f"cannot read {str(file)!r}: {str(error).partition(chr(10))[0]}; "
        "remove it and its trial's record, and run again."
    )
