"""The tracker: takes trial ids from the driver at once, and brings them to MLflow in a thread of its own.

What waits is read from the ledger when its turn comes, so waiting costs an id, and an experiment that was
killed before everything was sent is completed by the next `start`. Live tracking and `rebuild` are one path.
"""

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raybench.errors import RaybenchError, TrackingError
from raybench.ledger import experiment_dir, has_spec, load_spec, read_record, read_records
from raybench.records import Pair, TrialRecord, digest_of
from raybench.tracking import store
from raybench.tracking.address import sqlite_file, storage_id, tracking_uri, without_credentials
from raybench.tracking.content import Labels, trial_content
from raybench.tracking.summaries import opening_content, pair_content, summary_content

LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 8
"""A server that has not answered its first request by then is called absent."""
START_SECONDS = 60
"""Loading MLflow and connecting; databases have no time limit of their own."""
REQUEST_SECONDS = 30
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds between attempts while the server is away: doubled each time, up to the longest."""

PATIENCE_SECONDS = 120.0
"""After `close`, a server that has taken nothing for so long is given up."""

Job = tuple[Literal["trial", "pair", "summary"], str]
"""What to bring up to date, and its id: trial id, pair slug, nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingState:
    """What a person watching wants to know."""

    num_waiting: int
    """Trials, pairs and summaries not in MLflow yet."""
    problem: str
    """Why nothing moves at the moment; empty while all is well."""


class _OutOfTimeError(Exception):
    """`close` has run out of time while the server was away."""


class Tracker:
    """Shows one experiment of one storage in MLflow. `start`, then `log` at will, then `close`."""

    def __init__(self, uri: str | None, experiment: str, storage: Path) -> None:
        """
        Args:
            uri: tracking URI; None: `MLFLOW_TRACKING_URI`, else SQLite in the storage.
            experiment: its name in the ledger and in MLflow.
            storage: folder that holds the ledger; the spec is saved there before `start`.
        """
        self.uri = tracking_uri(storage, uri)
        self.rejected: dict[str, str] = {}
        """Id → why MLflow refuses it for good."""
        self._experiment = experiment
        self._storage = storage
        self._changed = threading.Condition()
        self._waiting: dict[Job, None] = {}  # An ordered set: at most one entry per trial, pair and summary.
        self._current: Job | None = None
        self._summary: Mapping[str, str] = {}
        self._pairs: dict[str, Pair] = {}
        self._unsettled: set[str] = set()
        self._deadline: float | None = None
        self._problem = ""
        self._last_success = time.monotonic()
        self._start_error: Exception | None = None
        self._is_connected = threading.Event()
        self._thread = threading.Thread(target=self._work, name="raybench-tracking", daemon=True)

    @property
    def public_uri(self) -> str:
        """The tracking URI without credentials, to be shown."""
        return without_credentials(self.uri)

    @property
    def state(self) -> TrackingState:
        with self._changed:
            return TrackingState(
                num_waiting=len(self._waiting) + (self._current is not None), problem=self._problem
            )

    def start(self) -> None:
        """Connect, and queue what an earlier run of this experiment could not send.

        Returns at once where there is nothing to verify: a SQLite file that does not exist yet.

        Raises:
            TrackingError: if the place refuses or does not answer.
        """
        database = sqlite_file(self.uri)
        if database is not None:
            _check_sqlite(database, self.uri)
        self._thread.start()
        if database is not None and not database.exists():
            return
        if not self._is_connected.wait(START_SECONDS):
            silence = TimeoutError(f"no answer within {START_SECONDS} s")
            raise TrackingError(store.refusal(self.uri, silence))
        if self._start_error is not None:
            raise self._start_error

    def log(self, record: TrialRecord) -> None:
        """Queue a finished trial whose record is in the ledger. Never waits, never raises."""
        if record.status != "running":
            self._enqueue(("trial", record.trial_id))

    def log_pair(self, pair: Pair) -> None:
        """Queue a pair's final numbers; `close` does so too for every pair that has changed."""
        with self._changed:
            self._pairs[pair.slug] = pair
        self._enqueue(("pair", pair.slug))

    def log_summary(self, files: Mapping[str, str]) -> None:
        """Queue the summary run: artifact path → text, e.g. `ranking.md`, `ranking.csv`."""
        with self._changed:
            self._summary = dict(files)
        self._enqueue(("summary", ""))

    def close(self, timeout: float | None = 60.0) -> list[str]:
        """Send what waits.

        Args:
            timeout: seconds to take at most; None: as long as MLflow takes something every
                `PATIENCE_SECONDS`.

        Returns:
            Trial ids that are not in MLflow, sorted; they are in the ledger, and `rebuild` sends them.
        """
        with self._changed:
            self._deadline = math.inf if timeout is None else time.monotonic() + timeout
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)
        with self._changed:
            left = [*self._waiting, *([self._current] if self._current else [])]
        return sorted({name for kind, name in left if kind == "trial"} | set(self.rejected))

    def _enqueue(self, job: Job) -> None:
        with self._changed:
            self._waiting[job] = None
            self._changed.notify_all()

    # The thread's side.

    def _work(self) -> None:
        labels = None
        try:
            labels = _read_labels(self._storage, self._experiment)
            with store.request_settings(CONNECT_SECONDS):
                writer = store.connect(self.uri, labels, self._storage)
        except Exception as error:
            is_explained = isinstance(error, RaybenchError)
            self._start_error = error if is_explained else TrackingError(store.refusal(self.uri, error))
            self._problem = str(self._start_error)
            LOG.warning("%s", self._problem)
            return
        finally:
            self._is_connected.set()
        try:
            self._attempt("", writer.find_runs, writer)
            self._enqueue_ledger()
            while (job := self._next_job()) is not None:
                self._carry_out(job, writer, labels)
            for slug in sorted(self._unsettled):
                self._current = ("pair", slug)
                self._carry_out(("pair", slug), writer, labels)
            self._current = None
        except _OutOfTimeError:
            LOG.warning("MLflow at %s was away until the end: %s", self.public_uri, self._problem)
        except Exception as error:  # A thread that dies silently would look like a slow server.
            self._problem = without_credentials(f"{type(error).__name__}: {error}")
            LOG.error("tracking has stopped, `raybench track` sends what is missing: %s", self._problem)

    def _enqueue_ledger(self) -> None:
        """Queue every trial of the ledger; those that MLflow holds are passed over when their turn comes."""
        for record in read_records(self._storage, self._experiment):
            self.log(record)

    def _next_job(self) -> Job | None:
        """The job to do now; waits for one, and is None when `close` was called and nothing is left."""
        with self._changed:
            self._current = None
            while not self._waiting:
                if self._deadline is not None:
                    return None
                self._changed.wait()
            self._current = next(iter(self._waiting))
            del self._waiting[self._current]
            return self._current

    def _carry_out(self, job: Job, writer: store.RunWriter, labels: Labels) -> None:
        kind, name = job
        if kind == "trial":
            self._attempt(name, lambda: self._write_trial(name, writer, labels), writer)
        elif kind == "pair":
            self._attempt(name, lambda: self._write_pair(self._pairs[name], writer, labels), writer)
        else:
            self._attempt("summary", lambda: self._write_summary(writer, labels), writer)

    def _attempt(self, key: str, action: Callable[[], None], writer: store.RunWriter) -> None:
        """Do it until it is done, refused for good, or `close` runs out of time."""
        wait, has_looked_again = FIRST_WAIT, False
        while True:
            try:
                with store.request_settings(REQUEST_SECONDS):
                    action()
            except Exception as error:
                said = without_credentials(f"{type(error).__name__}: {error}")
                is_permanent = store.is_permanent(error)
                if is_permanent and has_looked_again:
                    self.rejected[key] = said
                    LOG.warning("MLflow refuses %s: %s", key, said)
                    return
                if not is_permanent and not self._problem:
                    LOG.warning("MLflow does not take %s, trying again: %s", key, said)
                self._problem = "" if is_permanent else said
                has_looked_again = has_looked_again or is_permanent
                writer.forget(key)
                self._pause(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if self._problem:
                    LOG.warning("MLflow answers again; nothing was lost")
                self._problem, self._last_success = "", time.monotonic()
                return

    def _pause(self, seconds: float) -> None:
        """Wait; `close` cuts the wait short, and its deadline ends the attempts."""
        with self._changed:
            if self._deadline is None:
                self._changed.wait_for(lambda: self._deadline is not None, seconds)
            else:
                left = min(self._deadline, self._last_success + PATIENCE_SECONDS) - time.monotonic()
                if left <= 0:
                    raise _OutOfTimeError
                self._changed.wait(min(seconds, left, 2.0))

    def _write_trial(self, trial_id: str, writer: store.RunWriter, labels: Labels) -> None:
        record = read_record(self._storage, self._experiment, trial_id)
        if record is None:
            raise KeyError(f"trial {trial_id!r} is not in the ledger")
        if record.status == "running":
            return
        pair = Pair(backbone=record.backbone, task=record.task)
        self._pairs[pair.slug] = pair
        content = trial_content(record, labels)
        if not (writer.holds(content) and writer.is_settled(pair.slug)):
            self._unsettled.add(pair.slug)
        writer.write_trial(content, parent=opening_content(pair, record, labels))

    def _write_pair(self, pair: Pair, writer: store.RunWriter, labels: Labels) -> None:
        records = self._finished(f"{pair.slug}-*")
        recipe = experiment_dir(self._storage, self._experiment) / "recipes" / f"{pair.slug}.yaml"
        files = {"recipe.yaml": recipe.read_text(encoding="utf-8")} if recipe.exists() else {}
        writer.write_parent(pair_content(pair, records, labels, files))
        self._unsettled.discard(pair.slug)

    def _write_summary(self, writer: store.RunWriter, labels: Labels) -> None:
        records = self._finished("*")
        at = max((record.started_at + record.wall_seconds for record in records), default=0.0)
        writer.write_parent(summary_content(self._summary, labels, at))

    def _finished(self, pattern: str) -> list[TrialRecord]:
        """Finished records whose trial id matches; a trial id begins with its pair's slug."""
        trials = experiment_dir(self._storage, self._experiment) / "trials"
        names = sorted(path.stem for path in trials.glob(f"{pattern}.json"))
        records = (read_record(self._storage, self._experiment, name) for name in names)
        return [record for record in records if record is not None and record.status != "running"]


def rebuild(
    storage: Path, experiment: str, uri: str | None = None, summary: Mapping[str, str] | None = None
) -> list[str]:
    """Bring MLflow up to date with the ledger; what is there already is left alone.

    Args:
        summary: files of the summary run (artifact path → text); None leaves it as it is.

    Returns:
        Trial ids that MLflow refused, sorted.

    Raises:
        TrackingError: if the place refuses or does not answer.
    """
    tracker = Tracker(uri, experiment, storage)
    tracker.start()
    records = read_records(storage, experiment)
    for record in records:
        tracker.log(record)
    for record in records:
        tracker.log_pair(Pair(backbone=record.backbone, task=record.task))
    if summary is not None:
        tracker.log_summary(summary)
    return tracker.close(timeout=None)


def _read_labels(storage: Path, experiment: str) -> Labels:
    spec = load_spec(storage, experiment) if has_spec(storage, experiment) else {}
    backbones = {
        row["name"]: {"family": row.get("family", "unknown"), "method": row.get("method", "unknown")}
        for row in spec.get("backbones", [])
    }
    return Labels(
        experiment=experiment,
        storage_id=storage_id(storage),
        spec_digest=digest_of(spec) if spec else "",
        backbones=backbones,
    )


def _check_sqlite(database: Path, uri: str) -> None:
    """Say at once what MLflow would say after seconds of loading."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if database.exists():
            with sqlite3.connect(database, timeout=5) as connection:
                connection.execute("SELECT name FROM sqlite_master LIMIT 1")
            connection.close()
        else:
            with (database.parent / f".{database.name}.probe").open("w"):
                pass
            (database.parent / f".{database.name}.probe").unlink()
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(store.refusal(uri, error)) from error
