"""Objects of a bucket as paths, with those methods of `pathlib.Path` that the storage needs.

An object that is absent raises FileNotFoundError, as a file does. Whatever else goes wrong and does not pass
by waiting raises StorageUnavailableError, so that it is never taken for an absent object.
"""

import fnmatch
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from raybench.core.errors import StorageUnavailableError
from raybench.store.files.retry import TRANSIENT_ERRNOS, retry_transient
from raybench.store.files.s3_client import BucketError, client, require_all_deleted, translated

SCHEME = "s3://"
KEYS_PER_DELETION = 1000
ONE_PUT_BYTES = 8 * 2**20
"""What is larger is sent in parts, several at once; the object appears when the last one is there."""


@dataclass(frozen=True, slots=True, order=True)
class S3Path:
    """An object, or the prefix of several. Every method asks the bucket anew and waits while it is away."""

    bucket: str
    key: str
    """Without slashes at its ends; empty for the whole bucket."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}{'/' if self.key else ''}{self.key}"

    def __fspath__(self) -> str:
        raise TypeError(f"{self} lies in no file system; `storage.opened` gives its content as a file.")

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
        return self._ask("read", lambda s3: s3.get_object(**self._named)["Body"].read())

    def is_file(self) -> bool:
        """Whether there is an object of this very key."""
        try:
            self._ask("look for", lambda s3: s3.head_object(**self._named))
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether any object lies below."""
        return bool(self._page(self._below, MaxKeys=1).get("Contents"))

    def glob(self, pattern: str) -> list["S3Path"]:
        """What matches below, sorted. Each segment may hold wildcards; a slash at the end takes folders.

        One listing per folder that is looked into, a thousand names in each answer.
        """
        head, _, rest = pattern.partition("/")
        literal = head[: min((head.index(c) for c in "*?[" if c in head), default=len(head))]
        folders, files = self._children(literal)
        if "/" not in pattern:
            return sorted(self / name for name in files if fnmatch.fnmatchcase(name, head))
        matching = sorted(self / name for name in folders if fnmatch.fnmatchcase(name, head))
        return [found for folder in matching for found in folder.glob(rest)] if rest else matching

    def delete(self, *, is_patient: bool = True) -> None:
        """Delete the object, if there is one: S3 does not tell."""
        self._ask("delete", lambda s3: s3.delete_object(**self._named), is_patient)

    def file_sizes(self) -> dict[str, int]:
        """Every object below, by its key relative to this one: its bytes."""
        return {
            entry["Key"].removeprefix(self._below): entry["Size"]
            for page in self._pages(self._below)
            for entry in page.get("Contents", ())
        }

    def delete_below(self) -> None:
        """Delete every object below, a thousand at a time.

        Raises:
            StorageUnavailableError: if the bucket keeps any of them.
        """
        names = list(self.file_sizes())
        for first in range(0, len(names), KEYS_PER_DELETION):
            keys = [{"Key": (self / name).key} for name in names[first : first + KEYS_PER_DELETION]]
            self._delete_all(keys)

    def _delete_all(self, keys: list[dict[str, str]]) -> None:
        wanted = {"Objects": keys, "Quiet": True}
        self._ask(
            "empty", lambda s3: require_all_deleted(s3.delete_objects(Bucket=self.bucket, Delete=wanted))
        )

    def upload(self, file: BinaryIO) -> None:
        """Create or replace the object with what `file` holds, from its beginning; whole or not at all."""

        is_small = file.seek(0, os.SEEK_END) <= ONE_PUT_BYTES

        def send(s3: Any) -> None:
            file.seek(0)
            if is_small:
                s3.put_object(**self._named, Body=file.read())
            else:
                s3.upload_fileobj(_Unclosed(file), self.bucket, self.key)

        self._ask("write", send)

    def download(self, file: Path) -> None:
        """Write the object into a file of this machine, large ones by several requests at once.

        Raises:
            FileNotFoundError: if there is none.
            OSError: if the file cannot be written (a full disk), which is not the bucket's fault.
        """
        self._ask("read", lambda s3: s3.download_file(self.bucket, self.key, str(file)))

    def put(self, content: bytes, **condition: str) -> str:
        """Create or replace the object and return its tag.

        Args:
            content: of the object.
            condition: `IfNoneMatch="*"`: only where there is none; `IfMatch=tag`: only in that one's place.

        Raises:
            FileExistsError: if the condition is not met.
        """
        answer = self._ask("write", lambda s3: s3.put_object(**self._named, Body=content, **condition))
        return str(answer["ETag"])

    def get(self, *, is_patient: bool = True) -> dict[str, Any]:
        """boto3's answer, its `Body` read: with tag, time of the last change and time of the answer."""

        def request(s3: Any) -> dict[str, Any]:
            answer = s3.get_object(**self._named)
            return {**answer, "Body": answer["Body"].read()}

        return self._ask("read", request, is_patient)

    def check(self) -> None:
        """Ask once, without patience, whether the bucket is there and may be listed.

        Raises:
            OSError: if not.
        """
        with translated(str(self), self.bucket):
            client().list_objects_v2(Bucket=self.bucket, Prefix=self.key, MaxKeys=1)

    @property
    def _named(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def _below(self) -> str:
        """With what the keys of all objects below begin."""
        return f"{self.key}/" if self.key else ""

    def _children(self, start: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files directly below that begin so."""
        base = self._below
        folders: list[str] = []
        files: list[str] = []
        for page in self._pages(base + start, Delimiter="/"):
            folders += [p["Prefix"].removeprefix(base).rstrip("/") for p in page.get("CommonPrefixes", ())]
            files += [entry["Key"].removeprefix(base) for entry in page.get("Contents", ())]
        return folders, files

    def _pages(self, prefix: str, **options: Any) -> Iterator[dict[str, Any]]:
        following: dict[str, str] = {}
        while True:
            page = self._page(prefix, **options, **following)
            yield page
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, prefix: str, **options: Any) -> dict[str, Any]:
        return self._ask("list", lambda s3: s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **options))

    def _ask(self, verb: str, request: Callable[[Any], Any], is_patient: bool = True) -> Any:
        def attempt() -> Any:
            with translated(str(self), self.bucket):
                return request(client())

        try:
            return retry_transient(attempt) if is_patient else attempt()
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            if not isinstance(error, BucketError) and error.errno not in TRANSIENT_ERRNOS:
                raise  # Of a file of this machine.
            raise StorageUnavailableError(
                f"cannot {verb} {str(self)!r}: {error.strerror}; try again once that is mended."
            ) from error


class _Unclosed:
    """A file that s3transfer cannot close, so that a second attempt can send it again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        if name == "close":
            return lambda: None
        return getattr(self._file, name)
