"""Results files of final trials: written with a checksum that the trial's record keeps, verified when read.

Records of versions without checksums verify nothing; of their files only missing measurements are noticed.
"""

import json
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from raybench.core.errors import DamagedResultError
from raybench.core.records import TrialRecord
from raybench.store import layout
from raybench.store.files import StoragePath, glob_sorted, map_concurrently, read_bytes, write_atomic
from raybench.store.files.checksums import checksum_of, checksum_of_file
from raybench.store.files.sealed_json import unseal

Checksums = Mapping[str, str]
"""`KIND/EXPERIMENT/FILE`, the file's path in the storage → checksum of its content."""

MAX_VERIFIED_BYTES = 64 * 2**20
"""`missing_or_damaged` verifies larger files of a folder by existence only; readers verify every file."""


def write_result(path: StoragePath, content: bytes) -> dict[str, str]:
    """Write a results file atomically and return its checksum.

    Raises:
        StorageUnavailableError: if the storage cannot be written.
    """
    write_atomic(path, lambda file: file.write(content))
    return {_name(path): checksum_of(content)}


def verified_source(path: StoragePath, checksums: Checksums) -> Path | BytesIO:
    """The path of a local file, or an object's content in memory, once it has its checksum.

    Raises:
        DamagedResultError: if it has not, or is missing although the trial wrote it.
        OSError: if there is no such file.
    """
    expected = checksums.get(_name(path))
    if expected is not None and not path.is_file():
        raise _missing(path)
    if isinstance(path, Path):
        if expected is not None and checksum_of_file(path) != expected:
            raise _damaged(path)
        return path
    content = path.read_bytes()
    if expected is not None and checksum_of(content) != expected:
        raise _damaged(path)
    return BytesIO(content)


def read_result(path: StoragePath, checksums: Checksums) -> bytes:
    """Content of a results file that has its checksum.

    Raises:
        DamagedResultError: if it has not, or is missing although the trial wrote it.
        OSError: if there is no such file.
    """
    expected = checksums.get(_name(path))
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        if expected is not None:
            raise _missing(path) from None
        raise
    if expected is not None and checksum_of(content) != expected:
        raise _damaged(path)
    return content


def checksums_of_trial(storage: StoragePath, experiment: str, trial_id: str) -> Checksums:
    """Checksums of a trial's results files; empty if its record holds none, or there is no record.

    Raises:
        DamagedResultError: if the record is damaged.
    """
    content = _read_record(layout.trial_file(storage, experiment, trial_id))
    return {} if content is None else dict(content.get("files") or {})


def checksums_of_experiment(storage: StoragePath, experiment: str) -> dict[str, str | None]:
    """Checksums of the results files of all final trials; None for a measurement file without a checksum.

    Raises:
        DamagedResultError: if a record is damaged.
    """
    records = glob_sorted(layout.trials_dir(storage, experiment), "*-final-*.json")
    checksums: dict[str, str | None] = {}
    for content in map_concurrently(_read_record, records, storage):
        if content is None or content.get("stage") != "final":
            continue
        is_on_test = any(key.startswith("test/") for key in content["metrics"])
        if content.get("status") == "completed" and is_on_test:
            measured = layout.measurements_file(storage, experiment, str(content["trial_id"]))
            checksums[_name(measured)] = None
        checksums |= content.get("files") or {}
    return checksums


def require_present(storage: StoragePath, expected: Iterable[str], files: Iterable[StoragePath]) -> None:
    """Check that every expected measurement file is among the existing ones.

    Raises:
        DamagedResultError: if one is missing.
    """
    measurements = {name for name in expected if name.startswith("measurements/")}
    for name in sorted(measurements - {_name(file) for file in files}):
        raise _missing(storage_path(storage, name))


def was_written(path: StoragePath, checksums: Checksums) -> bool:
    """Whether a file exists, or the trial wrote it."""
    return _name(path) in checksums or path.is_file()


def missing_or_damaged(storage: StoragePath, record: TrialRecord) -> StoragePath | None:
    """The first results file of a trial that is missing or damaged; None if none is."""
    measured = layout.measurements_file(storage, record.experiment, record.trial_id)
    if record.is_measured_on_test and not measured.is_file():
        return measured
    for name, expected in record.files.items():
        path = storage_path(storage, name)
        if not path.is_file():
            return path
        if isinstance(path, Path):
            is_large = path.stat().st_size > MAX_VERIFIED_BYTES
        else:
            is_large = not name.startswith("measurements/")
        if not is_large and checksum_of(read_bytes(path)) != expected:
            return path
    return None


def storage_path(storage: StoragePath, name: str) -> StoragePath:
    """Path of a results file that a record names."""
    for part in name.split("/"):
        storage = storage / part
    return storage


def _name(path: StoragePath) -> str:
    return f"{path.parent.parent.name}/{path.parent.name}/{path.name}"


def _read_record(path: StoragePath) -> dict[str, Any] | None:
    """A trial's record as plain JSON, much faster than `ledger.read_record`; None if it does not exist."""
    try:
        content = json.loads(unseal(read_bytes(path)))
        return {"metrics": {}, **content}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise DamagedResultError(
            f"the trial record {str(path)!r} cannot be read ({error}); `raybench run` with the experiment's "
            "spec runs this trial again."
        ) from error


def _damaged(path: StoragePath) -> DamagedResultError:
    return DamagedResultError(
        f"{str(path)!r} is damaged: it is not as its trial wrote it; `raybench run` with the experiment's "
        "spec measures it again."
    )


def _missing(path: StoragePath) -> DamagedResultError:
    return DamagedResultError(
        f"{str(path)!r} is missing, although its trial wrote it; `raybench run` with the experiment's spec "
        "measures it again."
    )
