"""Reaching MLflow: settings of its requests, opening an experiment, and what an error means for the user."""

import contextlib
import json
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from raybench.core.errors import RaybenchError, TrackingError
from raybench.store.files import StoragePath
from raybench.tracking.address import artifact_root, is_server, sqlite_file, without_credentials
from raybench.tracking.content import Labels
from raybench.tracking.store import RunWriter
from raybench.tracking.table import VIEW_TAG, shared_view

PERMANENT_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS")
"""MLflow's error codes that a second attempt cannot cure."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's UI open the table of runs, not its view for language models (see table.py)."""


class _Settings:
    """The process's own environment while MLflow is spoken to; shared by all threads that do."""

    lock = threading.Lock()
    num_users = 0
    before: ClassVar[dict[str, str | None]] = {}


@contextlib.contextmanager
def request_settings(timeout_seconds: int) -> Iterator[None]:
    """One attempt per request, answered or given up in time. MLflow reads these from the environment only."""
    settings = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_seconds),
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    with _Settings.lock:
        if _Settings.num_users == 0:
            _Settings.before = {name: os.environ.get(name) for name in settings}
        _Settings.num_users += 1
        os.environ.update(settings)
    try:
        yield
    finally:
        with _Settings.lock:
            _Settings.num_users -= 1
            for name, value in _Settings.before.items() if _Settings.num_users == 0 else ():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def connect(uri: str, labels: Labels, storage: StoragePath) -> RunWriter:
    """Open the store, and the experiment in it, which is created if it is absent.

    Raises:
        TrackingError: if the place refuses, is absent, or holds the experiment as deleted.
    """
    prepare_mlflow()
    from mlflow.exceptions import MlflowException  # Deferred: MLflow takes seconds to load.
    from mlflow.tracking import MlflowClient

    try:
        if database := sqlite_file(uri):
            database.parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(labels.experiment)
        if experiment is None:
            location = None if is_server(uri) else (artifact_root(storage) / labels.experiment).as_uri()
            tags = {**EXPERIMENT_TAGS, "mlflow.note.content": _note(labels)}
            identity = client.create_experiment(labels.experiment, artifact_location=location, tags=tags)
            experiment = client.get_experiment(identity)
        if labels.tasks and experiment.tags.get(VIEW_TAG) != (view := shared_view(labels.tasks)):
            client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, view)
    except (MlflowException, OSError, ImportError, ValueError) as error:
        raise TrackingError(refusal(uri, error)) from None  # The cause may spell out a password.
    except Exception as error:  # SQLAlchemy and the drivers each raise their own.
        raise TrackingError(refusal(uri, error)) from None
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow at {without_credentials(uri)} holds experiment {labels.experiment!r} as deleted; "
            f"restore it (`mlflow experiments restore -x {experiment.experiment_id}`) or rename the spec."
        )
    return RunWriter(client, str(experiment.experiment_id), labels.storage_id)


def check_sqlite(database: Path, uri: str) -> None:
    """Say at once what MLflow would say after seconds of loading."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if database.exists():
            connection = sqlite3.connect(database, timeout=5)
            try:
                connection.execute("SELECT name FROM sqlite_master LIMIT 1")
            finally:
                connection.close()
        else:
            probe = database.with_name(f".{database.name}.probe")
            probe.touch()
            probe.unlink()
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(refusal(uri, error)) from error


def refusal(uri: str, error: Exception) -> str:
    """One sentence: which place, what it said, what to do."""
    said = " ".join(without_credentials(str(error)).split()) or type(error).__name__
    if cause := re.search(r"\[Errno -?\d+\] [^'\")]+|timed out", said):
        said = cause.group()  # Of a sentence that repeats the address four times.
    said = said[:300].rstrip(". ")
    hint = "start it" if is_server(uri) else "check it"
    return (
        f"MLflow at {without_credentials(uri)} cannot be used: {said}; {hint}, or leave out the tracking URI "
        "(option and MLFLOW_TRACKING_URI) to write to SQLite in the storage."
    )


def is_permanent(error: Exception) -> bool:
    """True if sending the same again would fail the same way."""
    code = getattr(error, "error_code", None)
    if code is not None:
        return code in PERMANENT_ERRORS
    if isinstance(error, json.JSONDecodeError):
        return False  # A proxy's error page.
    return isinstance(error, (RaybenchError, TypeError, ValueError, KeyError, AttributeError))


def prepare_mlflow() -> None:
    """Load MLflow: no telemetry, no chatter."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    import mlflow  # noqa: F401 - it configures its loggers while loading, so they are quieted after.

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _note(labels: Labels) -> str:
    return (
        f"raybench experiment **{labels.experiment}**. One run per pair of backbone and task, with its final "
        'numbers; its trials are nested below. Sort by `metrics."test/accuracy"`, filter by '
        "`tags.family = 'cnn'`. `std/…` is the sample standard deviation over seeds, `curve/…` a learning "
        "curve, `best.…` the winner's hyperparameters. The storage holds the truth; this view can be rebuilt "
        "from it."
    )
