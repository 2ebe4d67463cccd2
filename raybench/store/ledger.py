"""The ledger of an experiment: its spec, one JSON record per trial, and pinned digests.

A run executes the trials of the plan that the ledger lacks, so a killed run resumes from here. A damaged
record counts as missing: only its trial is run again. Every file ends with a checksum of itself (see
`files.sealed_json`).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from raybench.core.errors import DamagedResultError, NonFiniteMeasurementError, StorageError
from raybench.core.records import Pair, Stage, TrialRecord
from raybench.store import layout
from raybench.store.files import (
    StoragePath,
    glob_sorted,
    map_concurrently,
    read_bytes,
    write_atomic,
    write_if_absent,
)
from raybench.store.files.sealed_json import seal, unseal
from raybench.store.spec_shape import problem_of_spec
from raybench.store.trial_file import json_of_record, record_from_json


def experiments(storage: StoragePath) -> list[str]:
    """Sorted names of the experiments that have a spec or a trial in this storage."""
    names = [folder.name for folder in glob_sorted(layout.experiments_dir(storage), "*/")]
    return sorted(n for n in names if has_spec(storage, n) or layout.trials_dir(storage, n).is_dir())


def write_record(storage: StoragePath, record: TrialRecord) -> None:
    """Create or replace the record of a trial, atomically.

    Raises:
        NonFiniteMeasurementError: if one of `values` is NaN or infinite.
        StorageError: if the storage cannot be written.
    """
    for entry in record.values:
        if not abs(entry.value) < float("inf"):
            raise NonFiniteMeasurementError(
                f"{entry.key} of trial {record.trial_id!r} is {entry.value}; "
                "record the trial as failed with a reason instead."
            )
    path = layout.trial_file(storage, record.experiment, record.trial_id)
    # A running trial writes after every epoch; losing the last of these costs an epoch.
    _write_json(path, json_of_record(record), is_durable=record.status != "running")


def read_record(storage: StoragePath, experiment: str, trial_id: str) -> TrialRecord | None:
    """The record of one trial; None if it is missing or damaged.

    Raises:
        StorageUnavailableError: if the storage is unreachable.
    """
    return _parse(layout.trial_file(storage, experiment, trial_id))


def read_records(
    storage: StoragePath,
    experiment: str,
    *,
    pair: Pair | None = None,
    slug: str = "",
    on_damaged: Callable[[StoragePath], None] | None = None,
) -> list[TrialRecord]:
    """Records of an experiment, sorted by backbone, task, stage and index.

    Args:
        storage: that holds the ledger.
        experiment: name of the experiment.
        pair: read only this pair's trials; None reads all.
        slug: read only this pair's trials, given by its slug.
        on_damaged: called with the path of each damaged record, which is left out; None raises an error.

    Raises:
        DamagedResultError: if a record is damaged and `on_damaged` is None.
        StorageError: if the folder exists but may not be read.
    """
    folder = layout.trials_dir(storage, experiment)
    try:
        paths = glob_sorted(folder, f"{pair.slug if pair else slug}*.json")
    except OSError as error:
        raise StorageError(f"cannot read {str(folder)!r}: {error.strerror or error}.") from error
    records = []
    for path, record in zip(paths, map_concurrently(_parse, paths, storage), strict=True):
        if record is not None:
            records.append(record)
        elif on_damaged is not None:
            on_damaged(path)
        else:
            raise DamagedResultError(
                f"the trial record {str(path)!r} is damaged, or was written by a later raybench; `raybench "
                "run` with the experiment's spec runs this trial again."
            )
    order = {stage: position for position, stage in enumerate(get_args(Stage))}
    return sorted(records, key=lambda r: (r.pair.backbone, str(r.pair.task), order[r.stage], r.index, r.seed))


def skip_damaged(path: StoragePath) -> None:
    """`on_damaged` of callers for which a damaged record counts as missing."""


def save_spec(storage: StoragePath, experiment: str, content: Mapping[str, Any]) -> None:
    """Write the spec as `ExperimentSpec.to_dict()` gives it, so that a later run can see what changed."""
    _write_json(layout.spec_file(storage, experiment), content)


def save_importance(storage: StoragePath, experiment: str, content: Mapping[str, Any]) -> None:
    """Write the importance of an experiment's hyperparameters.

    Raises:
        StorageUnavailableError: if the storage cannot be written.
    """
    _write_json(layout.importance_file(storage, experiment), content)


def load_importance(storage: StoragePath, experiment: str) -> dict[str, Any] | None:
    """What `save_importance` wrote; None if it is missing.

    Raises:
        DamagedResultError: if it cannot be read. `raybench run` computes it again.
    """
    path = layout.importance_file(storage, experiment)
    try:
        content = json.loads(unseal(read_bytes(path)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedResultError(
            f"cannot read {str(path)!r} ({error}); remove it: `raybench run` computes it again."
        ) from error
    return content if isinstance(content, dict) else None


def has_spec(storage: StoragePath, experiment: str) -> bool:
    return layout.spec_file(storage, experiment).is_file()


def load_spec(storage: StoragePath, experiment: str) -> dict[str, Any] | None:
    """The spec as `save_spec` wrote it; None if there is no such experiment in this storage.

    Raises:
        StorageError: if the spec exists but cannot be read.
    """
    path = layout.spec_file(storage, experiment)
    try:
        content = json.loads(unseal(read_bytes(path)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"cannot read {str(path)!r}: {error}; restore it. If the file given to `raybench run` has not "
            "changed since, remove this one and run that file again."
        ) from error
    if problem := problem_of_spec(content):
        raise StorageError(f"{str(path)!r} {problem}; restore it or remove the experiment's folder.")
    return dict(content)


def pin(storage: StoragePath, experiment: str, kind: str, name: str, digest: str) -> None:
    """Pin the content of a backbone or dataset: the first call stores its digest, later ones compare with it.

    Otherwise weights or images that change under the same name would be measured under one label.

    Args:
        storage: that holds the ledger.
        experiment: name of the experiment.
        kind: `backbone` or `dataset`.
        name: of the backbone or dataset in measurements.
        digest: of its content now.

    Raises:
        StorageError: if the digest differs from the pinned one.
    """
    path = layout.identity_file(storage, experiment, kind, name)
    try:
        try:
            content = read_bytes(path)
        except FileNotFoundError:
            content = write_if_absent(path, seal(_as_json({"name": name, "digest": digest})))
        pinned = json.loads(unseal(content))["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"cannot read {str(path)!r}: {error}; restore it, or remove it if {kind} {name!r} has not "
            "changed since the experiment began."
        ) from error
    if pinned != digest:
        raise StorageError(
            f"{kind} {name!r} has changed since experiment {experiment!r} began (content {pinned} then, "
            f"{digest} now); restore it, or give the changed one a name of its own."
        )


def pinned(storage: StoragePath, experiment: str, kind: str, name: str) -> str | None:
    """The digest that `pin` has stored; None before, or if its file is damaged."""
    try:
        path = layout.identity_file(storage, experiment, kind, name)
        return str(json.loads(unseal(read_bytes(path)))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _parse(path: StoragePath) -> TrialRecord | None:
    try:
        return record_from_json(read_bytes(path))
    except (OSError, ValueError):
        return None  # Damaged, foreign or from a later raybench: counts as missing.


def _write_json(path: StoragePath, content: Mapping[str, Any], *, is_durable: bool = True) -> None:
    text = seal(_as_json(content))
    write_atomic(path, lambda file: file.write(text), is_durable=is_durable)


def _as_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """A JSON value for numpy and torch scalars, paths and mappings."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be written as JSON")
