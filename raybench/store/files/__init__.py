"""The storage: where things lie in it, and how a file comes to be there whole or not at all.

STORAGE/
├── experiments/NAME/spec.json            what was asked for
│   ├── trials/TRIAL_ID.json              the ledger: what became of every trial
│   ├── checkpoints/TRIAL_ID/             of trials under way only
│   ├── importance.json                   which hyperparameters mattered
│   ├── identities/                       digests of the backbones and datasets it began with
│   ├── running.lock                      held by the one driver that runs it
│   └── recipes/PAIR.yaml                 the winners, each a spec of its own
├── measurements/NAME/TRIAL_ID.parquet    the measurement table
├── costs/                                what inference costs, per checkpoint and machine
├── predictions/NAME/TRIAL_ID.parquet     per-example predictions of the final stage
└── features/                             the feature store

STORAGE is a folder or `s3://bucket/prefix`, and lies out the same in both. Who uses it holds a `StoragePath`:
a `pathlib.Path`, or an `S3Path` with the few methods of `Path` that the storage needs and with its
exceptions. So `storage / "x"`, `.glob`, `.is_file` and `except FileNotFoundError` are one code for both. What
the two do differently is behind the functions of this package, and nobody else asks which of them it is:

whole       writing and reading whole files: renaming is atomic in a folder, a PUT is in S3
exclusive   one at a time: the kernel's lock in a folder, a lease that is renewed in S3 (`lease`)
places      what a user may write, and the folder of this machine for what must lie on a disk
waiting     a storage that is away for a while is waited for

Why boto3 and not what looks shorter: `universal-pathlib` needs s3fs, whose aiobotocore pins other botocores
than the lock file does; pyarrow's file system knows no conditional write, without which two drivers of
one experiment cannot tell of each other. boto3 is loaded when an object is asked for, never for a folder.
"""

from raybench.store.files.atomic import (
    file_sizes,
    glob_sorted,
    map_concurrently,
    open_binary,
    path_or_buffer,
    read_bytes,
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
from raybench.store.files.retry import retry_transient

__all__ = [
    "ExclusiveLock",
    "StoragePath",
    "absolute_path",
    "exclusive_lock",
    "file_sizes",
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
