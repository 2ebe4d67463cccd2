"""Write runs with plain `MlflowClient` calls, without MLflow's fluent state.

One writer per experiment and storage, used by one thread. MLflow 3.17 has three traps:

- Its HTTP client retries POST requests: a `create_run` whose response was lost would create a second run.
  Retries are switched off (`connection.request_settings`), and a run whose creation failed is looked up
  before it is created again.
- `set_terminated` on a server prints a URL and fetches the run again unless it is configured not to.
- It drops a metric value that it has, but refuses a changed parameter: a trial whose record has changed
  gets a new run, and the old one is deleted (MLflow can restore it).
"""

import errno
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raybench.tracking.address import without_credentials
from raybench.tracking.dataset_inputs import DatasetInput
from raybench.tracking.run_content import Point, RunContent

LOG = logging.getLogger(__name__)

DIGEST_TAG = "raybench.content_digest"
PARENT_TAG = "mlflow.parentRunId"
RUNS_PER_PAGE = 5000
"""Runs per search request; larger pages were not faster on SQLite."""
UNREACHABLE_FOLDER = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)
"""Error codes of an artifact folder on the server's own disk."""


@dataclass(slots=True, kw_only=True)
class KnownRun:
    """State of a run that exists in MLflow."""

    run_id: str
    is_finished: bool
    digest: str = ""
    tags: set[str] = field(default_factory=set)
    metrics: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Metric → (value, timestamp); only of parent runs, which are updated."""


class RunWriter:
    """Writes the runs of one experiment; writing the same content twice writes once."""

    def __init__(self, client: Any, experiment_id: str, storage_id: str) -> None:
        self.experiment_id = experiment_id
        self._client = client
        self._storage_id = storage_id
        self._known: dict[str, KnownRun] = {}
        self._unsure: set[str] = set()
        """Keys of runs that may exist: their creation was requested, and no response came."""

        self._has_warned = False

    def find_runs(self) -> None:
        """Load the runs of this storage. Of two runs with one key, the later one is deleted."""
        self._known.clear()
        for run in self._search(f"tags.`raybench.storage_id` = '{self._storage_id}'"):
            self._remember(run)

    def is_written(self, content: RunContent) -> bool:
        """True if the run exists, is complete and has this content."""
        known = self._known.get(content.key)
        return known is not None and known.is_finished and known.digest == content.digest

    def is_finished(self, key: str) -> bool:
        """True if a parent run exists and has an end status."""
        known = self._known.get(key)
        return known is not None and known.is_finished

    def forget(self, key: str) -> None:
        """Have the next write look the run up again, in case somebody has deleted it."""
        self._known.pop(key, None)
        self._unsure.add(key)

    def write_trial(self, content: RunContent, parent: RunContent) -> None:
        """Write a trial's run below its pair's run: one creation, one batch, its datasets, one status."""
        if self.is_written(content):
            return
        known = self._existing(content.key)
        if known is not None and known.digest != content.digest:
            self._client.delete_run(known.run_id)
            del self._known[content.key]
            known = None
        if known is None:
            known = self._create(content, {DIGEST_TAG: content.digest, PARENT_TAG: self._parent_id(parent)})
        self._log_batch(known.run_id, content.points, content.params, {})
        self._log_inputs(known.run_id, content.inputs)
        self._upload(known.run_id, content.files)
        self._client.set_terminated(known.run_id, status=content.status, end_time=content.end)
        known.is_finished = True

    def write_parent(self, content: RunContent) -> None:
        """Write or update a pair's run, or the summary; only changes are sent."""
        if self.is_written(content):
            return
        known = self._existing(content.key) or self._create(content, {})
        for tag in known.tags - set(content.tags):
            if tag.startswith(("best.", "raybench.reason")):
                self._client.delete_tag(known.run_id, tag)
        self._upload(known.run_id, content.files)
        self._log_inputs(known.run_id, content.inputs)
        changed = _changed(content.points, known.metrics)
        self._log_batch(known.run_id, changed, {}, content.tags)
        self._client.set_terminated(known.run_id, status=content.status, end_time=content.end)
        # The digest comes last: it marks the run as complete.
        self._client.set_tag(known.run_id, DIGEST_TAG, content.digest)
        known.is_finished, known.digest, known.tags = True, content.digest, set(content.tags)
        known.metrics.update({point.key: (point.value, point.timestamp) for point in changed})

    def _search(self, filter_string: str) -> Iterator[Any]:
        return search_runs(self._client, self.experiment_id, filter_string)

    def _remember(self, run: Any) -> None:
        tags = run.data.tags
        key = tags.get("raybench.key", "")
        if key in self._known and self._known[key].run_id != run.info.run_id:
            self._client.delete_run(run.info.run_id)
            return
        is_parent = tags.get("raybench.kind") != "trial"
        # `data.metrics` has no timestamps; the private list has.
        metrics = {metric.key: (metric.value, metric.timestamp) for metric in run.data._metric_objs}
        self._known[key] = KnownRun(
            run_id=run.info.run_id,
            is_finished=run.info.status in ("FINISHED", "FAILED", "KILLED"),
            digest=tags.get(DIGEST_TAG, ""),
            tags=set(tags) if is_parent else set(),
            metrics=metrics if is_parent else {},
        )

    def _parent_id(self, parent: RunContent) -> str:
        known = self._existing(parent.key) or self._create(parent, {})
        if known.is_finished and parent.status == "RUNNING":
            self._client.update_run(known.run_id, status="RUNNING")
            known.is_finished = False
        return known.run_id

    def _existing(self, key: str) -> KnownRun | None:
        if key in self._unsure:
            for run in self._search(
                f"tags.`raybench.storage_id` = '{self._storage_id}' AND tags.`raybench.key` = '{key}'"
            ):
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
        """Upload artifacts; if the artifact store is unreachable, warn once and go on without."""
        for path, text in files.items():
            try:
                self._client.log_text(run_id, text, path)
            except (ImportError, OSError) as error:
                # A server may name a bucket, or a folder on its own disk.
                if isinstance(error, OSError) and error.errno not in UNREACHABLE_FOLDER:
                    raise
                if not self._has_warned:
                    LOG.warning("MLflow's artifacts are left out: %s", without_credentials(str(error)))
                self._has_warned = True

    def _log_inputs(self, run_id: str, inputs: tuple[DatasetInput, ...]) -> None:
        """Log the splits that the run has read; MLflow keeps those that it has."""
        from mlflow.entities import Dataset, InputTag
        from mlflow.entities import DatasetInput as Input

        logged = [
            Input(
                dataset=Dataset(
                    name=one.name, digest=one.digest, source_type=one.source_type, source=one.source
                ),
                tags=[InputTag("mlflow.data.context", one.context)],
            )
            for one in inputs
        ]
        if logged:
            self._client.log_inputs(run_id, logged)


def search_runs(client: Any, experiment_id: str, filter_string: str) -> Iterator[Any]:
    """All runs of an experiment that match MLflow's filter, page by page, oldest first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            filter_string,
            max_results=RUNS_PER_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _changed(points: tuple[Point, ...], known: Mapping[str, tuple[float, int]]) -> tuple[Point, ...]:
    """Points with a new value, later than the value they replace: MLflow shows the latest."""
    changed = []
    for point in points:
        value, timestamp = known.get(point.key, (None, 0))
        if value != point.value:
            later = max(point.timestamp, timestamp + 1)
            changed.append(Point(key=point.key, value=point.value, step=point.step, timestamp=later))
    return tuple(changed)
