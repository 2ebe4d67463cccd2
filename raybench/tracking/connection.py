"""Connect to MLflow: request settings, opening an experiment, error messages."""

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
from raybench.tracking.probe import advice, without_page
from raybench.tracking.run_content import Labels
from raybench.tracking.run_writer import RunWriter
from raybench.tracking.shared_view import VIEW_TAG, shared_view

PERMANENT_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS")
"""MLflow's error codes of requests that would fail again."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's UI open the table of runs, not its view for language models (see shared_view.py)."""


class _Environment:
    """The environment variables that `request_settings` replaces, shared by all threads that use it."""

    lock = threading.Lock()
    num_users = 0
    before: ClassVar[dict[str, str | None]] = {}


@contextlib.contextmanager
def request_settings(timeout_seconds: int) -> Iterator[None]:
    """Send each request once, with a timeout. MLflow reads these settings from the environment only."""
    settings = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_seconds),
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    with _Environment.lock:
        if _Environment.num_users == 0:
            _Environment.before = {name: os.environ.get(name) for name in settings}
        _Environment.num_users += 1
        os.environ.update(settings)
    try:
        yield
    finally:
        with _Environment.lock:
            _Environment.num_users -= 1
            for name, value in _Environment.before.items() if _Environment.num_users == 0 else ():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def connect(uri: str, labels: Labels, storage: StoragePath) -> RunWriter:
    """Open the experiment; create it if it does not exist.

    Raises:
        TrackingError: if MLflow refuses or does not answer, or the experiment is marked as deleted there.
    """
    prepare_mlflow()
    from mlflow.tracking import MlflowClient  # Deferred: MLflow takes seconds to load.

    try:
        if database := sqlite_file(uri):
            database.parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(labels.experiment)
        if experiment is None:
            location = None if is_server(uri) else (artifact_root(storage) / labels.experiment).as_uri()
            tags = {**EXPERIMENT_TAGS, "mlflow.note.content": _note(labels)}
            experiment_id = client.create_experiment(labels.experiment, artifact_location=location, tags=tags)
            experiment = client.get_experiment(experiment_id)
        if labels.tasks and experiment.tags.get(VIEW_TAG) != (view := shared_view(labels.tasks)):
            client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, view)
    except Exception as error:  # MLflow, SQLAlchemy and the database drivers raise their own types.
        raise TrackingError(refusal(uri, error)) from None  # The cause may contain a password.
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow at {without_credentials(uri)} holds experiment {labels.experiment!r} as deleted; "
            f"restore it (`mlflow experiments restore -x {experiment.experiment_id}`) or rename the spec."
        )
    return RunWriter(client, str(experiment.experiment_id), labels.storage_id)


def check_sqlite(database: Path, uri: str) -> None:
    """Check the database file before MLflow is loaded, which takes seconds."""
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
    """One sentence for the user: the URI, the error, what to do."""
    message = " ".join(without_credentials(without_page(str(error))).split()) or type(error).__name__
    if cause := re.search(r"\[Errno -?\d+\] [^'\")]+|timed out", message):
        message = cause.group()  # The full sentence repeats the address four times.
    if "database is locked" in message:
        return (
            f"MLflow's database {without_credentials(uri)} is locked by another process; end that process, "
            "or wait for it."
        )
    hint = advice(message) if is_server(uri) else "check it"
    message = message[:300].rstrip(". ")
    return (
        f"MLflow at {without_credentials(uri)} cannot be used: {message}; {hint}, or leave out the tracking "
        "URI (option and MLFLOW_TRACKING_URI) to write to SQLite in the storage."
    )


def is_permanent(error: Exception) -> bool:
    """True if the same request would fail again."""
    code = getattr(error, "error_code", None)
    if code is not None:
        return code in PERMANENT_ERRORS
    if isinstance(error, json.JSONDecodeError):
        return False  # The error page of a proxy.
    return isinstance(error, (RaybenchError, TypeError, ValueError, KeyError, AttributeError))


def prepare_mlflow() -> None:
    """Load MLflow without telemetry and informational log lines."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    import mlflow  # noqa: F401 - it configures its loggers while loading, so their level is set afterwards.

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _note(labels: Labels) -> str:
    return (
        f"raybench experiment **{labels.experiment}**. One run per pair of backbone and task, with its final "
        'numbers; its trials are nested below. Sort by `metrics."test/accuracy"`, filter by '
        "`tags.family = 'cnn'`. `std/…` is the sample standard deviation over seeds, `curve/…` a learning "
        "curve, `best.…` the winner's hyperparameters. The results are stored in raybench's storage; "
        "`raybench track` rebuilds this view from it."
    )
