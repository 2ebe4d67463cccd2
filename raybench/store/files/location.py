"""What a user may write for a storage, and the folder of this machine for what must lie on a disk."""

import hashlib
import os
import re
from pathlib import Path
from typing import TypeAlias

from raybench.core.errors import StorageError
from raybench.store.files.s3 import SCHEME, S3Path
from raybench.store.files.s3_client import endpoint

StoragePath: TypeAlias = Path | S3Path
"""A storage, or something in it."""

CACHE_VARIABLE = "RAYBENCH_CACHE"
"""Names the folder of a machine for copies of what lies in a bucket."""


def parse_storage_path(address: str | StoragePath) -> StoragePath:
    """What the address names; nothing is asked or created.

    >>> parse_storage_path("s3://bucket/results/")
    S3Path(bucket='bucket', key='results')
    >>> parse_storage_path("runs")
    PosixPath('runs')

    Raises:
        StorageError: if it is neither a folder nor `s3://bucket/prefix`.
    """
    if not isinstance(address, str):
        return address
    shown = re.sub(r"//.*@", "//", address)  # A password written there in spite of all; it may hold a slash.
    if not address.lower().startswith(SCHEME):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", address):
            raise StorageError(
                f"{shown!r} is no place for a storage; give a folder of this machine or s3://bucket/prefix."
            )
        return Path(address)
    bucket, _, prefix = address[len(SCHEME) :].partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", bucket):
        raise StorageError(
            f"{shown!r} names no bucket; write s3://bucket/prefix, with the endpoint in AWS_ENDPOINT_URL and "
            "the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    prefix = prefix.strip("/")
    if any(segment in ("", ".", "..") for segment in prefix.split("/")) and prefix:
        raise StorageError(f"{shown!r} has an empty or dotted segment; write s3://bucket/prefix without.")
    return S3Path(bucket, prefix)


def open_storage(address: str | StoragePath) -> StoragePath:
    """`parse_storage_path`, once a bucket is known to be there: a mistake in the command is told at once.

    Raises:
        StorageError: if the bucket does not exist, may not be read or does not answer.
    """
    place = parse_storage_path(address)
    if isinstance(place, S3Path):
        try:
            place.check()
        except OSError as error:
            raise StorageError(f"cannot use storage {str(place)!r}: {error.strerror}.") from error
    return place


def is_local_path(place: StoragePath) -> bool:
    """Whether the place lies in a file system, where files can be mapped."""
    return isinstance(place, Path)


def absolute_path(place: StoragePath) -> StoragePath:
    """The same place whatever the working directory."""
    return place.absolute() if isinstance(place, Path) else place


def local_folder(place: StoragePath) -> Path:
    """The place itself if it is a folder; else this machine's folder for copies of it, not created here.

    `RAYBENCH_CACHE` says where such copies lie, by default `~/.cache/raybench`.

    Raises:
        StorageError: if AWS's variables describe no client.
    """
    if isinstance(place, Path):
        return place
    named = os.environ.get(CACHE_VARIABLE)
    root = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "raybench")
    where = hashlib.sha256(f"{endpoint()}\n{place.bucket}".encode()).hexdigest()[:8]
    return root.expanduser().absolute() / f"{place.bucket}-{where}" / place.key
