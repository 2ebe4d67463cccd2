"""Files of a storage, in a local folder or in an S3 bucket: atomic writes, locks and retries.

A storage is a `StoragePath`: a `pathlib.Path`, or an `S3Path` that has the methods of `Path` that raybench
needs and raises the same exceptions. So `storage / "x"`, `.is_file()` and `except FileNotFoundError` work for
both; only this package and `features.cache_sync` distinguish them. `store.layout` names each file's path.

atomic      atomic writes: a rename in a folder, one PUT or multipart upload in a bucket; deletion
reading     read and list files
locks       mutual exclusion: a kernel file lock in a folder, a renewed lease object (`lease`) in a bucket
location    parse addresses; the local folder for what must lie on a disk
checksums   reveal damaged files
retry       retry transient errors with backoff
s3          objects as paths; `s3_client` holds the boto3 client and translates its errors

boto3 is imported only when an object is accessed. The alternatives do not fit:

- obstore 0.12.1, tried against the tests' S3 server: it hides the answer's `Date`, which a lease's age needs;
  an unreachable endpoint and missing credentials are one `GenericError` told apart by its text only; reading
  from a missing bucket raises FileNotFoundError; `AWS_PROFILE` is ignored; a forked child hangs.
- universal-pathlib needs s3fs, whose aiobotocore pins another botocore.
- pyarrow's file system has no conditional writes, which leases need.
"""

from raybench.store.files.atomic import (
    flush_to_disk,
    remove,
    remove_tree,
    write_atomic,
    write_if_absent,
)
from raybench.store.files.location import (
    StoragePath,
    absolute_path,
    is_local_path,
    local_folder,
    open_storage,
    parse_storage_path,
)
from raybench.store.files.locks import ExclusiveLock, exclusive_lock
from raybench.store.files.reading import (
    file_sizes,
    glob_sorted,
    map_concurrently,
    open_binary,
    path_or_buffer,
    read_bytes,
)
from raybench.store.files.retry import retry_transient

__all__ = [
    "ExclusiveLock",
    "StoragePath",
    "absolute_path",
    "exclusive_lock",
    "file_sizes",
    "flush_to_disk",
    "glob_sorted",
    "is_local_path",
    "local_folder",
    "map_concurrently",
    "open_binary",
    "open_storage",
    "parse_storage_path",
    "path_or_buffer",
    "read_bytes",
    "remove",
    "remove_tree",
    "retry_transient",
    "write_atomic",
    "write_if_absent",
]
