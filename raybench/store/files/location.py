"""Parse storage addresses, and find the local folder for files that must lie on a disk."""

import hashlib
import os
import re
from pathlib import Path
from typing import TypeAlias

from raybench.core.errors import StorageError
from raybench.store.files.s3 import SCHEME, S3Path
from raybench.store.files.s3_client import endpoint

StoragePath: TypeAlias = Path | S3Path
"""A storage, or a file or folder in it."""

CACHE_VARIABLE = "RAYBENCH_CACHE"
"""Environment variable that names this machine's folder for copies of a bucket's files."""


def parse_storage_path(address: str | StoragePath) -> StoragePath:
    """The path that an address names; sends no request and creates nothing.

    >>> parse_storage_path("s3://bucket/results/")
    S3Path(bucket='bucket', key='results')
    >>> parse_storage_path("runs")
    PosixPath('runs')

    Raises:
        StorageError: if it is neither a folder nor `s3://bucket/prefix`.
    """
    if not isinstance(address, str):
        return address
    if not address.strip():
        raise StorageError(
            "the storage's name is empty; give a folder of this machine or s3://bucket/prefix."
        )
    redacted = re.sub(r"//.*@", "//", address)  # Greedy: a password may hold a slash.
    if not address.lower().startswith(SCHEME):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", address):
            raise StorageError(
                f"{redacted!r} is not a storage; give a folder of this machine or s3://bucket/prefix."
            )
        return Path(address)
    bucket, _, prefix = address[len(SCHEME) :].partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", bucket):
        raise StorageError(
            f"{redacted!r} names no bucket; write s3://bucket/prefix, with the endpoint in AWS_ENDPOINT_URL "
            "and the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    prefix = prefix.strip("/")
    if any(segment in ("", ".", "..") for segment in prefix.split("/")) and prefix:
        raise StorageError(f"{redacted!r} has an empty or dotted segment; write s3://bucket/prefix without.")
    return S3Path(bucket, prefix)


def open_storage(address: str | StoragePath) -> StoragePath:
    """`parse_storage_path`, and check that a bucket exists, so that a wrong address is reported at once.

    Raises:
        StorageError: if the bucket does not exist, may not be listed or does not answer.
    """
    storage = parse_storage_path(address)
    if isinstance(storage, S3Path):
        try:
            storage.check()
        except OSError as error:
            raise StorageError(f"cannot use storage {str(storage)!r}: {error.strerror}.") from error
    return storage


def is_local_path(path: StoragePath) -> bool:
    """Whether the path lies in a file system, where files can be memory-mapped."""
    return isinstance(path, Path)


def absolute_path(path: StoragePath) -> StoragePath:
    """The same path independent of the working directory."""
    return path.absolute() if isinstance(path, Path) else path


def local_folder(path: StoragePath) -> Path:
    """The path itself if it is local; else this machine's folder for copies of it, not created here.

    Copies lie under `RAYBENCH_CACHE`, by default `~/.cache/raybench`.

    Raises:
        StorageError: if AWS's variables describe no client.
    """
    if isinstance(path, Path):
        return path
    variable = os.environ.get(CACHE_VARIABLE)
    root = Path(variable) if variable else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "raybench")
    digest = hashlib.sha256(f"{endpoint()}\n{path.bucket}".encode()).hexdigest()[:8]
    return root.expanduser().absolute() / f"{path.bucket}-{digest}" / path.key
