"""The door to MLflow: connect, find the runs that exist, write a run. Plain `MlflowClient`, no fluent state.

One writer per experiment and storage, in one thread. What MLflow 3.17 leaves to the caller:

- it retries a request itself, a POST too: a `create_run` whose answer was lost would make a second run.
  Retries are switched off here, and a run whose creation failed is looked up before it is created again;
- `set_terminated` prints a URL and asks for the run again on servers, unless told not to;
- it drops a metric value that it has, but refuses a changed parameter: a trial whose record has changed
  gets a new run, and the old one is deleted (MLflow can restore it).
"""

import errno
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raybench.tracking.address import without_credentials
from raybench.tracking.content import Point, RunContent

LOG = logging.getLogger(__name__)

DIGEST_TAG = "raybench.content_digest"
PARENT_TAG = "mlflow.parentRunId"
PAGE = 5000
"""Runs per page while looking for those that exist; larger pages gained nothing on SQLite."""
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)


@dataclass(slots=True, kw_only=True)
class KnownRun:
    """What the writer remembers of a run that exists."""

    run_id: str
    is_finished: bool
    digest: str = ""
    tags: set[str] = field(default_factory=set)
    metrics: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Metric → (value, timestamp); kept for parent runs, which are updated."""


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
