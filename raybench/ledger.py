"""The ledger: one JSON file per trial, and the spec beside it. What is left to do is the plan minus the ledger.

    STORAGE/experiments/<experiment>/spec.json
    STORAGE/experiments/<experiment>/trials/<trial_id>.json
    STORAGE/experiments/<experiment>/checkpoints/<trial_id>/     while the trial runs

Files are written whole (temporary name, fsync, rename), so a killed writer leaves the old file or none.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from raybench.errors import StorageError
from raybench.records import TrialRecord


def write_atomically(path: Path, content: bytes, *, is_durable: bool = True) -> None:
    """Write a file whole or not at all; durable: also through a power cut, at the cost of an fsync.

    Raises:
        StorageError: if the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
            try:
                file.write(content)
                if is_durable:
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        Path(file.name).replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; choose another `--storage` or make room, "
            "then run the same command again: what is measured is kept."
        ) from error


def experiment_dir(storage: Path, experiment: str) -> Path:
    return storage / "experiments" / experiment


def checkpoint_dir(storage: Path, experiment: str, trial_id: str) -> Path:
    """Where a running trial keeps what it needs to resume; emptied when it ends."""
    return experiment_dir(storage, experiment) / "checkpoints" / trial_id


def record_path(storage: Path, experiment: str, trial_id: str) -> Path:
    return experiment_dir(storage, experiment) / "trials" / f"{trial_id}.json"


def write_record(storage: Path, record: TrialRecord) -> None:
    """Write or replace a trial's record.

    Raises:
        StorageError: if the storage cannot be written.
    """
    content = json.dumps(record.as_dict(), indent=1, default=list).encode()
    path = record_path(storage, record.experiment, record.trial_id)
    # A running trial writes after every epoch; losing the last of these costs nothing.
    write_atomically(path, content, is_durable=record.status != "running")


def read_record(storage: Path, experiment: str, trial_id: str) -> TrialRecord | None:
    """The record of that trial, or None if it has written none yet."""
    path = record_path(storage, experiment, trial_id)
    return _parse(path) if path.exists() else None


def read_records(storage: Path, experiment: str) -> list[TrialRecord]:
    """All records of an experiment, sorted by backbone, task, stage and index."""
    paths = (experiment_dir(storage, experiment) / "trials").glob("*.json")
    order = {"features": 0, "search": 1, "final": 2}
    return sorted(
        (_parse(path) for path in paths), key=lambda r: (r.backbone, r.task, order[r.stage], r.index, r.seed)
    )


def _parse(path: Path) -> TrialRecord:
    try:
        content = json.loads(path.read_text())
        return TrialRecord(**{**content, "curve": tuple(content["curve"]), "grid": tuple(content["grid"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(
            f"{path} is not a trial record of this version of raybench ({error}); "
            "delete the file to have the trial run again."
        ) from error


def experiments(storage: Path) -> list[str]:
    """Names of the experiments in a storage, sorted."""
    return sorted(path.parent.name for path in (storage / "experiments").glob("*/spec.json"))


def save_spec(storage: Path, experiment: str, content: dict[str, Any]) -> None:
    """Store the checked spec that the experiment runs with."""
    write_atomically(experiment_dir(storage, experiment) / "spec.json", json.dumps(content, indent=1).encode())


def load_spec(storage: Path, experiment: str) -> dict[str, Any] | None:
    """The stored spec of that experiment, or None if there is none."""
    path = experiment_dir(storage, experiment) / "spec.json"
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content
