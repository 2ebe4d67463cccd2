"""S3 objects as paths, with the methods of `pathlib.Path` that the storage needs.

A missing object raises FileNotFoundError, as a missing file does. Any other error that persists raises
StorageUnavailableError, so that an unreachable object is never taken for a missing one.
"""

import fnmatch
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

from raybench.core.errors import StorageUnavailableError
from raybench.store.files.retry import TRANSIENT_ERRNOS, retry_transient
from raybench.store.files.s3_client import BucketError, client, raise_if_not_deleted, translate_errors

SCHEME = "s3://"
KEYS_PER_REQUEST = 1000
"""S3's limit for one listing and for one deletion."""
SINGLE_PUT_BYTES = 8 * 2**20
"""Larger files are uploaded in parts, several at once; the object appears when the last part has arrived.

Equal to boto3's multipart threshold: below it, `upload_fileobj` would close the file and prevent a retry."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """An object's content with what identifies this version of it."""

    content: bytes
    etag: str
    age_seconds: float
    """Age by the bucket's clock."""


@dataclass(frozen=True, slots=True, order=True)
class S3Path:
    """An object, or the prefix of several. Methods send requests, and retry while S3 is unreachable."""

    bucket: str
    key: str
    """Object key or prefix, without leading or trailing slash; empty for the whole bucket."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}{'/' if self.key else ''}{self.key}"

    def __fspath__(self) -> str:
        raise TypeError(f"{self} lies in no file system; `store.files.open_binary` gives it as a file.")

    def __truediv__(self, name: str) -> "S3Path":
        return S3Path(self.bucket, f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def parent(self) -> "S3Path":
        return S3Path(self.bucket, self.key.rpartition("/")[0])

    def read_bytes(self) -> bytes:
        """The object's content.

        Raises:
            FileNotFoundError: if there is none.
        """
        return self._request("read", lambda s3: s3.get_object(**self._address)["Body"].read())

    def read_version(self, *, retry: bool = True) -> ObjectVersion:
        """The object's content with its etag and age.

        Raises:
            FileNotFoundError: if there is none.
        """

        def get(s3: Any) -> ObjectVersion:
            answer = s3.get_object(**self._address)
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            now = parsedate_to_datetime(date) if date else datetime.now(UTC)
            age_seconds = (now - answer["LastModified"]).total_seconds()
            return ObjectVersion(answer["Body"].read(), answer["ETag"], age_seconds)

        return self._request("read", get, retry)

    def is_file(self) -> bool:
        """Whether there is an object with exactly this key."""
        try:
            self._request("look for", lambda s3: s3.head_object(**self._address))
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether any object's key begins with this key and a slash."""
        request = {"Bucket": self.bucket, "Prefix": self._prefix, "MaxKeys": 1}
        return bool(self._request("list", lambda s3: s3.list_objects_v2(**request)).get("Contents"))

    def glob(self, pattern: str) -> list["S3Path"]:
        """Sorted objects matching a pattern; a trailing slash matches folders instead.

        Each segment may hold wildcards. Takes one listing per matching folder.
        """
        head, _, rest = pattern.partition("/")
        literal = head[: min((head.index(c) for c in "*?[" if c in head), default=len(head))]
        folders, files = self._children(literal)
        if "/" not in pattern:
            return sorted(self / name for name in files if fnmatch.fnmatchcase(name, head))
        matching = sorted(self / name for name in folders if fnmatch.fnmatchcase(name, head))
        return [path for folder in matching for path in folder.glob(rest)] if rest else matching

    def file_sizes(self) -> dict[str, int]:
        """Bytes of every object below this prefix, by its key relative to the prefix."""
        pages = self._pages(self._prefix)
        return {e["Key"].removeprefix(self._prefix): e["Size"] for p in pages for e in p.get("Contents", ())}

    def delete(self, *, retry: bool = True) -> None:
        """Delete the object, if there is one: S3 does not tell whether there was."""
        self._request("delete", lambda s3: s3.delete_object(**self._address), retry)

    def delete_tree(self) -> None:
        """Delete every object below this prefix.

        Raises:
            StorageUnavailableError: if S3 refuses to delete one.
        """
        keys = [{"Key": (self / name).key} for name in self.file_sizes()]
        for first in range(0, len(keys), KEYS_PER_REQUEST):
            batch = {"Objects": keys[first : first + KEYS_PER_REQUEST], "Quiet": True}
            self._delete_batch(batch)

    def _delete_batch(self, batch: dict[str, Any]) -> None:
        self._request(
            "empty", lambda s3: raise_if_not_deleted(s3.delete_objects(Bucket=self.bucket, Delete=batch))
        )

    def upload(self, file: BinaryIO) -> None:
        """Create or replace the object with the whole of `file`, atomically."""
        is_small = file.seek(0, os.SEEK_END) < SINGLE_PUT_BYTES

        def send(s3: Any) -> None:
            file.seek(0)
            if is_small:
                s3.put_object(**self._address, Body=file.read())
            else:
                s3.upload_fileobj(file, self.bucket, self.key)

        self._request("write", send)

    def download(self, file: Path) -> None:
        """Write the object into a local file, large ones by several requests at once.

        Raises:
            FileNotFoundError: if there is no object.
            OSError: if the local file cannot be written, e.g. the disk is full.
        """
        self._request("read", lambda s3: s3.download_file(self.bucket, self.key, str(file)))

    def put(self, content: bytes, **condition: str) -> None:
        """Create or replace the object.

        Args:
            content: of the object.
            condition: `IfNoneMatch="*"`: only if there is none; `IfMatch=etag`: only if it is that version.

        Raises:
            FileExistsError: if the condition is not met.
        """
        self._request("write", lambda s3: s3.put_object(**self._address, Body=content, **condition))

    def check(self) -> None:
        """Ask once, without retrying, whether the bucket exists and may be listed.

        Raises:
            OSError: if not.
        """
        with translate_errors(str(self), self.bucket):
            client().list_objects_v2(Bucket=self.bucket, Prefix=self.key, MaxKeys=1)

    @property
    def _address(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def _prefix(self) -> str:
        """What the keys of all objects below begin with."""
        return f"{self.key}/" if self.key else ""

    def _children(self, start: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files directly below that begin with `start`."""
        pages = self._pages(self._prefix + start, Delimiter="/")
        folders = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", ())]
        files = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return (
            [name.removeprefix(self._prefix).rstrip("/") for name in folders],
            [name.removeprefix(self._prefix) for name in files],
        )

    def _pages(self, prefix: str, **options: Any) -> list[dict[str, Any]]:
        """All answers of a listing."""
        page_size = {"PageSize": KEYS_PER_REQUEST}
        request = {"Bucket": self.bucket, "Prefix": prefix, "PaginationConfig": page_size, **options}
        return self._request("list", lambda s3: [*s3.get_paginator("list_objects_v2").paginate(**request)])

    def _request(self, verb: str, request: Callable[[Any], Any], retry: bool = True) -> Any:
        """Send a request with errors translated; transient ones are retried unless `retry` is off."""

        def attempt() -> Any:
            with translate_errors(str(self), self.bucket):
                return request(client())

        try:
            return retry_transient(attempt) if retry else attempt()
        except OSError as error:
            if not isinstance(error, BucketError) and error.errno not in TRANSIENT_ERRNOS:
                raise  # No such object, a condition not met, or a local file's error.
            raise StorageUnavailableError(
                f"cannot {verb} {str(self)!r}: {error.strerror}; try again once that is mended."
            ) from error
