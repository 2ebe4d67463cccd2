"""The ledger: one JSON file per trial that says what became of it, beside the spec that asked for it.

What is left to do is the plan minus the ledger, so a run that was killed continues from here. A record that
cannot be read counts as absent: its trial is run again, and nothing else is lost.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from raybench.core.errors import NonFiniteMeasurementError, StorageError
from raybench.core.records import Pair, Stage, TrialRecord, TrialStatus
from raybench.store import layout
from raybench.store.files import (
    StoragePath,
    glob_sorted,
    map_concurrently,
    read_bytes,
    write_atomic,
    write_if_absent,
)

SCHEMA_VERSION = 1
_FIELDS = frozenset(field.name for field in fields(TrialRecord))
_TUPLES = ("curve", "grid")


def experiments(storage: StoragePath) -> list[str]:
    """Names of the experiments that have a spec or a trial on this storage, sorted."""
    names = [folder.name for folder in glob_sorted(layout.experiments_dir(storage), "*/")]
    return sorted(n for n in names if has_spec(storage, n) or layout.trials_dir(storage, n).is_dir())


def write_record(storage: StoragePath, record: TrialRecord) -> None:
    """Create or replace the record of a trial, whole or not at all.

    Raises:
        NonFiniteMeasurementError: if one of `metrics` is NaN or infinite.
        StorageError: if the storage cannot be written.
    """
    for key, value in record.metrics.items():
        if not abs(value) < float("inf"):
            raise NonFiniteMeasurementError(
                f"{key} of trial {record.trial_id!r} is {value}; "
                "record the trial as failed with a reason instead."
            )
    path = layout.trial_file(storage, record.experiment, record.trial_id)
    # A running trial writes after every epoch; losing the last of these costs an epoch.
    _write_json(path, {"schema": SCHEMA_VERSION, **record.as_dict()}, is_durable=record.status != "running")


def read_record(storage: StoragePath, experiment: str, trial_id: str) -> TrialRecord | None:
    """The record of one trial; None if there is none that can be read.

    Raises:
        StorageUnavailableError: if the storage is away: that says nothing of the trial.
    """
    return _parse(layout.trial_file(storage, experiment, trial_id))


def read_records(
    storage: StoragePath, experiment: str, *, pair: Pair | None = None, slug: str = ""
) -> list[TrialRecord]:
    """Every record of an experiment by backbone, task, stage, index; unreadable ones are passed over.

    Args:
        storage: where the ledger lies.
        experiment: whose trials.
        pair: only this pair's trials; None takes all.
        slug: the same by the pair's slug, with which its trial ids begin.

    Raises:
        StorageError: if the folder is there but may not be read.
    """
    folder = layout.trials_dir(storage, experiment)
    try:
        paths = glob_sorted(folder, f"{pair.slug if pair else slug}*.json")
    except OSError as error:
        raise StorageError(f"cannot read {str(folder)!r}: {error.strerror or error}.") from error
    records = [record for record in map_concurrently(_parse, paths, storage) if record is not None]
    order = {stage: position for position, stage in enumerate(get_args(Stage))}
    return sorted(records, key=lambda r: (r.backbone, r.task, order[r.stage], r.index, r.seed))


def save_spec(storage: StoragePath, experiment: str, content: Mapping[str, Any]) -> None:
    """Keep what was asked for: `ExperimentSpec.to_dict()`, so that a later run can tell what has changed."""
    _write_json(layout.spec_file(storage, experiment), content)


def save_importance(storage: StoragePath, experiment: str, content: Mapping[str, Any]) -> None:
    """Write the importance of an experiment's hyperparameters.

    Raises:
        StorageUnavailableError: if the storage cannot be written.
    """
    _write_json(layout.importance_file(storage, experiment), content)


def load_importance(storage: StoragePath, experiment: str) -> dict[str, Any] | None:
    """What `save_importance` wrote; None if it is missing or unreadable: it can be computed again."""
    try:
        content = json.loads(read_bytes(layout.importance_file(storage, experiment)))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def has_spec(storage: StoragePath, experiment: str) -> bool:
    return layout.spec_file(storage, experiment).is_file()


def load_spec(storage: StoragePath, experiment: str) -> dict[str, Any] | None:
    """What `save_spec` kept; None if there is no such experiment on this storage.

    Raises:
        StorageError: if the spec is there but cannot be read.
    """
    path = layout.spec_file(storage, experiment)
    try:
        content = json.loads(read_bytes(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {str(path)!r}: {error}.") from error
    if not isinstance(content, dict):
        raise StorageError(f"{str(path)!r} holds no spec; restore it or remove the experiment's folder.")
    return content


def pin(storage: StoragePath, experiment: str, kind: str, name: str, digest: str) -> None:
    """Hold an experiment to what it began with: the digest first given for a name is the only one it takes.

    A weight file or a folder of images that changed under its old name would put two things under one label.

    Args:
        storage: where the ledger lies.
        experiment: whose backbone or dataset.
        kind: `backbone` or `dataset`.
        name: what measurements call it.
        digest: identity of its content now.

    Raises:
        StorageError: if the name stood for another content when the experiment began.
    """
    path = layout.identity_file(storage, experiment, kind, name)
    try:
        try:
            content = read_bytes(path)
        except FileNotFoundError:
            content = write_if_absent(path, _as_json({"name": name, "digest": digest}))
        pinned = json.loads(content)["digest"]
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"cannot read {str(path)!r}: {error}.") from error
    if pinned != digest:
        raise StorageError(
            f"{kind} {name!r} has changed since experiment {experiment!r} began (content {pinned} then, "
            f"{digest} now); restore it, or give the changed one a name of its own."
        )


def _parse(path: StoragePath) -> TrialRecord | None:
    try:
        content = json.loads(read_bytes(path))
        if content["schema"] > SCHEMA_VERSION or content["status"] not in get_args(TrialStatus):
            return None
        known: dict[str, Any] = {key: value for key, value in content.items() if key in _FIELDS}
        known |= {key: tuple(known[key]) for key in _TUPLES}
        return TrialRecord(**known)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # Torn, foreign or from a later raybench: as good as absent.


def _write_json(path: StoragePath, content: Mapping[str, Any], *, is_durable: bool = True) -> None:
    text = _as_json(content)
    write_atomic(path, lambda file: file.write(text), is_durable=is_durable)


def _as_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """What JSON does not know: numpy's and torch's scalars, paths, mappings."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be written as JSON")
