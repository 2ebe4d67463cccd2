"""Marker in the storage: an MLflow server has received the whole experiment and need not be contacted."""

import json

from raybench.core.records import digest_of
from raybench.spec import ExperimentSpec
from raybench.store.files import StoragePath, read_bytes, write_atomic
from raybench.store.layout import tracked_file
from raybench.tracking.address import sqlite_file


def mark_tracked(storage: StoragePath, spec: ExperimentSpec, uri: str) -> None:
    """Record that the MLflow server at `uri` has received all trials of this spec."""
    content = json.dumps(_marker(spec, uri)).encode()
    write_atomic(tracked_file(storage, spec.name), lambda file: file.write(content))


def is_tracked(storage: StoragePath, spec: ExperimentSpec, uri: str) -> bool:
    """Whether this spec is marked for this server; False if its local database file is gone."""
    if (file := sqlite_file(uri)) is not None and not file.exists():
        return False
    try:
        marker = json.loads(read_bytes(tracked_file(storage, spec.name)))
    except (FileNotFoundError, ValueError):
        return False
    return bool(marker == _marker(spec, uri))


def _marker(spec: ExperimentSpec, uri: str) -> dict[str, str]:
    return {"spec": spec.digest, "uri": digest_of(uri)}
