"""The storage folder: where things lie in it, and how a file comes to be there whole or not at all.

STORAGE/
├── experiments/NAME/spec.json            what was asked for
│   ├── trials/TRIAL_ID.json              the ledger: what became of every trial
│   ├── checkpoints/TRIAL_ID/             of trials under way only
│   ├── identities/                       digests of the backbones and datasets it began with
│   └── recipes/PAIR.yaml                 the winners, each a spec of its own
├── measurements/NAME/TRIAL_ID.parquet    the measurement table
├── predictions/NAME/TRIAL_ID.parquet     per-example predictions of the final stage
└── features/                             the feature store
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from raybench.errors import StorageError


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, is_durable: bool = True) -> None:
    """Create or replace `path` with what `write` puts into the file it is handed.

    A reader sees the old file or the new one, never a part: the bytes go to a hidden neighbour, reach the
    disk, and take the name last. A killed writer leaves that neighbour, which no reader looks at. Without
    `is_durable` the bytes may still be on their way to the disk, and only a power cut can tell.

    Raises:
        StorageError: if the folder cannot be written or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".partial", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            write(file)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would lock out the other users of a shared storage.
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {str(path)!r}: {error.strerror or error}; "
            "free space or choose another storage folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
