"""The door to MLflow: connect, find the runs that exist, write a run. Plain `MlflowClient`, no fluent state.

One writer per experiment and storage, in one thread. What MLflow 3.17 leaves to the caller:

- it retries a request itself, a POST too: a `create_run` whose answer was lost would make a second run.
  Retries are switched off here, and a run whose creation failed is looked up before it is created again;
- `set_terminated` prints a URL and asks for the run again on servers, unless told not to;
- it drops a metric value that it has, but refuses a changed parameter: a trial whose record has changed
  gets a new run, and the old one is deleted (MLflow can restore it).
"""

import contextlib
import errno
import json
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from raybench.errors import RaybenchError, TrackingError
from raybench.tracking.address import artifact_root, is_server, sqlite_file, without_credentials
from raybench.tracking.content import Labels, Point, RunContent

LOG = logging.getLogger(__name__)

DIGEST_TAG = "raybench.content_digest"
PARENT_TAG = "mlflow.parentRunId"
PAGE = 5000
"""Runs per page while looking for those that exist; larger pages gained nothing on SQLite."""
PERMANENT_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS")
"""MLflow's error codes that a second attempt cannot cure."""
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's UI open the table of runs, not its view for language models."""


@dataclass(slots=True, kw_only=True)
class KnownRun:
    """What the writer remembers of a run that exists."""

    run_id: str
    is_finished: bool
    digest: str = ""
    tags: set[str] = field(default_factory=set)
    metrics: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Metric → (value, timestamp); kept for parent runs, which are updated."""


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


def connect(uri: str, labels: Labels, storage: Path) -> "RunWriter":
    """Open the store, and the experiment in it, which is created if it is absent.

    Raises:
        TrackingError: if the place refuses, is absent, or holds the experiment as deleted.
    """
    _prepare_mlflow()
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


class RunWriter:
    """Writes runs of one experiment; writing the same content twice writes once."""

    def __init__(self, client: Any, experiment_id: str, storage_id: str) -> None:
        self.experiment_id = experiment_id
        self._client = client
        self._storage_id = storage_id
        self._known: dict[str, KnownRun] = {}
        self._unsure: set[str] = set()
        """Keys whose creation was sent but not answered: the run may exist."""

        self._has_warned = False

    def find_runs(self) -> None:
        """Learn which runs of this storage exist. Of two with one key, the later is deleted."""
        self._known.clear()
        for run in self._search(f"tags.`raybench.storage_id` = '{self._storage_id}'"):
            self._remember(run)

    def _search(self, filter_string: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                filter_string,
                max_results=PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _remember(self, run: Any) -> None:
        tags = run.data.tags
        key = tags.get("raybench.key", "")
        if key in self._known and self._known[key].run_id != run.info.run_id:
            self._client.delete_run(run.info.run_id)
            return
        is_parent = tags.get("raybench.kind") != "trial"
        # `latest values` come without timestamps from `data.metrics`; the private list has both.
        metrics = {metric.key: (metric.value, metric.timestamp) for metric in run.data._metric_objs}
        self._known[key] = KnownRun(
            run_id=run.info.run_id,
            is_finished=run.info.status in ("FINISHED", "FAILED", "KILLED"),
            digest=tags.get(DIGEST_TAG, ""),
            tags=set(tags) if is_parent else set(),
            metrics=metrics if is_parent else {},
        )

    def holds(self, content: RunContent) -> bool:
        """True if the run is there, complete and equal."""
        known = self._known.get(content.key)
        return known is not None and known.is_finished and known.digest == content.digest

    def forget(self, key: str) -> None:
        """Look the run up before writing it again: someone may have deleted it."""
        self._known.pop(key, None)
        self._unsure.add(key)

    def is_settled(self, key: str) -> bool:
        """True if a parent run is there and shows an end."""
        known = self._known.get(key)
        return known is not None and known.is_finished

    def write_trial(self, content: RunContent, parent: RunContent) -> None:
        """Write a trial's run under its pair's; one creation, one batch, one status."""
        if self.holds(content):
            return
        known = self._existing(content.key)
        if known is not None and known.digest != content.digest:
            self._client.delete_run(known.run_id)
            del self._known[content.key]
            known = None
        if known is None:
            known = self._create(content, {DIGEST_TAG: content.digest, PARENT_TAG: self._parent_id(parent)})
        self._log_batch(known.run_id, content.points, content.params, {})
        self._upload(known.run_id, content.files)
        self._client.set_terminated(known.run_id, status=content.status, end_time=content.end)
        known.is_finished = True

    def write_parent(self, content: RunContent) -> None:
        """Write or update a pair's run, or the summary: only what differs is sent."""
        if self.holds(content):
            return
        known = self._existing(content.key) or self._create(content, {})
        for tag in known.tags - set(content.tags):
            if tag.startswith(("best.", "raybench.reason")):
                self._client.delete_tag(known.run_id, tag)
        self._upload(known.run_id, content.files)
        if content.dataset:
            self._log_dataset(known.run_id, *content.dataset)
        changed = _changed(content.points, known.metrics)
        self._log_batch(known.run_id, changed, {}, content.tags)
        self._client.set_terminated(known.run_id, status=content.status, end_time=content.end)
        # Last: it says that all the rest is there.
        self._client.set_tag(known.run_id, DIGEST_TAG, content.digest)
        known.is_finished, known.digest, known.tags = True, content.digest, set(content.tags)
        known.metrics.update({point.key: (point.value, point.timestamp) for point in changed})

    def _parent_id(self, parent: RunContent) -> str:
        known = self._existing(parent.key) or self._create(parent, {})
        if known.is_finished and parent.status == "RUNNING":
            self._client.update_run(known.run_id, status="RUNNING")
            known.is_finished = False
        return known.run_id

    def _existing(self, key: str) -> KnownRun | None:
        if key in self._unsure:
            mine = f"tags.`raybench.storage_id` = '{self._storage_id}' AND tags.`raybench.key` = '{key}'"
            for run in self._search(mine):
                self._remember(run)
            self._unsure.discard(key)
        return self._known.get(key)

    def _create(self, content: RunContent, more_tags: Mapping[str, str]) -> KnownRun:
        self._unsure.add(content.key)
        tags = {**content.tags, "raybench.key": content.key, **more_tags}
        run = self._client.create_run(
            self.experiment_id, start_time=content.start, tags=tags, run_name=content.name
        )
        self._unsure.discard(content.key)
        known = KnownRun(run_id=run.info.run_id, is_finished=False, digest=tags.get(DIGEST_TAG, ""))
        if PARENT_TAG not in tags:
            known.tags = set(tags)
        self._known[content.key] = known
        return known

    def _log_batch(
        self, run_id: str, points: tuple[Point, ...], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in points],
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )

    def _upload(self, run_id: str, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            try:
                self._client.log_text(run_id, text, path)
            except (ImportError, OSError) as error:
                # A server may hand out a bucket, or a folder on its own disk, out of reach from here.
                if isinstance(error, OSError) and error.errno not in UNWRITABLE:
                    raise
                if not self._has_warned:
                    LOG.warning("MLflow's artifacts are left out: %s", without_credentials(str(error)))
                self._has_warned = True

    def _log_dataset(self, run_id: str, name: str, fingerprint: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=name, digest=fingerprint[:36], source_type="raybench", source=name)
        use = InputTag("mlflow.data.context", "evaluation")
        self._client.log_inputs(run_id, [DatasetInput(dataset=dataset, tags=[use])])


def _changed(points: tuple[Point, ...], known: Mapping[str, tuple[float, int]]) -> tuple[Point, ...]:
    """Points whose value is new, each later than what it replaces: MLflow shows the latest value."""
    changed = []
    for point in points:
        value, timestamp = known.get(point.key, (None, 0))
        if value != point.value:
            later = max(point.timestamp, timestamp + 1)
            changed.append(Point(key=point.key, value=point.value, step=point.step, timestamp=later))
    return tuple(changed)


def _prepare_mlflow() -> None:
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
