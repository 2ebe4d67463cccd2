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

STORAGE is a folder or `s3://bucket/prefix`, and lies out the same in both. Who uses it holds a `Place`:
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

from raybench.storage.exclusive import Exclusive, exclusive
from raybench.storage.places import Place, absolute, is_folder, on_disk, open_storage, place_of
from raybench.storage.waiting import patiently
from raybench.storage.whole import (
    each,
    fetched,
    matches,
    opened,
    read_whole,
    remove,
    remove_tree,
    sizes,
    write_once,
    write_whole,
)

__all__ = [
    "Exclusive",
    "Place",
    "absolute",
    "each",
    "exclusive",
    "fetched",
    "is_folder",
    "matches",
    "on_disk",
    "open_storage",
    "opened",
    "patiently",
    "place_of",
    "read_whole",
    "remove",
    "remove_tree",
    "sizes",
    "write_once",
    "write_whole",
]
