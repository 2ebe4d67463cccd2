"""The tracker: takes trial ids from the driver at once, and brings them to MLflow in a thread of its own.

What waits is read from the ledger when its turn comes, so waiting costs an id, and an experiment that was
killed before everything was sent is completed by the next `start`. Live tracking and `rebuild` are one path.
"""

import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from raybench.core.errors import RaybenchError, TrackingError
from raybench.core.records import Pair, TrialRecord
from raybench.store.files import StoragePath
from raybench.tracking import connection
from raybench.tracking.address import sqlite_file, tracking_uri, without_credentials
from raybench.tracking.store import RunWriter
from raybench.tracking.table import table_address
from raybench.tracking.view import ExperimentView, read_labels

LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 8
"""A server that has not answered its first request by then is called absent."""
START_SECONDS = 60
"""Loading MLflow and connecting; databases have no time limit of their own."""
REQUEST_SECONDS = 30
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds between attempts while the server is away: doubled each time, up to the longest."""
CLOSING_WAIT = 2.0
"""The longest wait between attempts once `close` was called."""
RETRY_SECONDS = 120.0
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

    def __init__(self, uri: str | None, experiment: str, storage: StoragePath) -> None:
        """
        Args:
            uri: tracking URI; None: `MLFLOW_TRACKING_URI`, else SQLite in the storage.
            experiment: its name in the ledger and in MLflow.
            storage: folder that holds the ledger; the spec is saved there before `start`.
        """
        self.uri = tracking_uri(storage, uri)
        self.rejected: dict[str, str] = {}
        """Trial id or pair slug → why MLflow refuses it for good."""
        self.table_address = ""
        """Where a browser shows the runs; empty until connected, and for a database."""
        self._experiment = experiment
        self._storage = storage
        self._changed = threading.Condition()
        self._waiting: dict[Job, None] = {}  # An ordered set: at most one entry per trial, pair and summary.
        self._current: Job | None = None
        self._summary: Mapping[str, str] = {}
        self._settles_all = False
        self._is_new = False
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
            num_waiting = len(self._waiting) + (self._current is not None)
            return TrackingState(num_waiting=num_waiting, problem=self._problem)

    def start(self) -> None:
        """Connect, and queue what an earlier run of this experiment could not send.

        Returns at once where there is nothing to verify: a SQLite file that does not exist yet.

        Raises:
            TrackingError: if the place refuses or does not answer.
        """
        database = sqlite_file(self.uri)
        self._is_new = database is not None and not database.exists()
        if database is not None:
            connection.check_sqlite(database, self.uri)
        self._thread.start()
        if self._is_new:
            return
        if not self._is_connected.wait(START_SECONDS):
            silence = TimeoutError(f"no answer within {START_SECONDS} s")
            raise TrackingError(connection.refusal(self.uri, silence))
        if self._start_error is not None:
            raise self._start_error

    def log(self, record: TrialRecord) -> None:
        """Queue a trial that has ended and whose record is in the ledger. Never waits, never raises.

        Only its id is kept.
        """
        self._enqueue(("trial", record.trial_id))

    def log_pair(self, pair: Pair) -> None:
        """Queue a pair's final numbers now; `close` does so anyway for every pair that has changed."""
        self._enqueue(("pair", pair.slug))

    def log_summary(self, files: Mapping[str, str]) -> None:
        """Queue the summary run: artifact path → text, e.g. `ranking.md`, `ranking.csv`."""
        with self._changed:
            self._summary = dict(files)
        self._enqueue(("summary", ""))

    def close(self, timeout: float | None = 60.0) -> list[str]:
        """Send what waits, and the final numbers of every pair that has changed.

        Args:
            timeout: seconds to take at most; None: as long as MLflow takes something every
                `RETRY_SECONDS`.

        Returns:
            Ids of trials, and slugs of pairs, that MLflow refused or did not get in time, sorted. They are in
            the ledger, and `rebuild` sends them.
        """
        with self._changed:
            self._deadline = math.inf if timeout is None else time.monotonic() + timeout
            self._last_success = time.monotonic()
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

    # From here on: the thread's side.

    def _work(self) -> None:
        try:
            labels = read_labels(self._storage, self._experiment)
            with connection.request_settings(CONNECT_SECONDS):
                writer = connection.connect(self.uri, labels, self._storage)
            self.table_address = table_address(self.uri, writer.experiment_id)
        except Exception as error:
            is_explained = isinstance(error, RaybenchError)
            self._start_error = error if is_explained else TrackingError(connection.refusal(self.uri, error))
            self._problem = str(self._start_error)
            if self._is_new:
                LOG.warning("%s", self._problem)  # `start` has returned already.
            return
        finally:
            self._is_connected.set()
        view = ExperimentView(self._storage, self._experiment, labels, writer)
        try:
            if not self._attempt(self._experiment, writer.find_runs, writer):
                return  # Without knowing what is there, everything would be written twice.
            for trial_id in view.finished_trials():
                self._enqueue(("trial", trial_id))
            self._carry_out_jobs(view, writer)
            for slug in view.all_pairs() if self._settles_all else view.touched_pairs():
                self._attempt(slug, functools.partial(view.write_pair, slug), writer)
        except _OutOfTimeError:
            LOG.warning("MLflow at %s was away until the end: %s", self.public_uri, self._problem)
        except Exception as error:  # A thread that dies silently would look like a slow server.
            self._problem = without_credentials(f"{type(error).__name__}: {error}")
            LOG.warning("tracking has stopped, `raybench track` sends what is missing: %s", self._problem)

    def _carry_out_jobs(self, view: ExperimentView, writer: RunWriter) -> None:
        """Until `close` was called and nothing waits."""
        while (job := self._next_job()) is not None:
            kind, name = job
            actions: dict[str, Callable[[], None]] = {
                "trial": functools.partial(view.write_trial, name),
                "pair": functools.partial(view.write_pair, name),
                "summary": lambda: view.write_summary(self._summary),
            }
            self._attempt(name or kind, actions[kind], writer)

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

    def _attempt(self, key: str, action: Callable[[], None], writer: RunWriter) -> bool:
        """Do it until it is done (True) or refused for good (False), or `close` runs out of time.

        What is refused is tried once more after looking its run up: someone may have deleted it.
        """
        wait, has_looked_again = FIRST_WAIT, False
        while True:
            try:
                with connection.request_settings(REQUEST_SECONDS):
                    action()
            except Exception as error:
                said = without_credentials(f"{type(error).__name__}: {error}")
                is_permanent = connection.is_permanent(error)
                if is_permanent and has_looked_again:
                    self.rejected[key] = said
                    LOG.warning("MLflow does not get %s: %s", key, said)
                    return False
                writer.forget(key)
                if is_permanent:
                    has_looked_again = True
                    continue
                if not self._problem:
                    LOG.warning("MLflow does not take %s, trying again: %s", key, said)
                self._problem = said
                self._pause(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if self._problem:
                    LOG.warning("MLflow answers again; nothing was lost")
                self._problem, self._last_success = "", time.monotonic()
                return True

    def _pause(self, seconds: float) -> None:
        """Wait; `close` cuts the wait short, and its deadline ends the attempts."""
        with self._changed:
            if self._deadline is None:
                self._changed.wait_for(lambda: self._deadline is not None, seconds)
                return
            left = min(self._deadline, self._last_success + RETRY_SECONDS) - time.monotonic()
            if left <= 0:
                raise _OutOfTimeError
            self._changed.wait(min(seconds, left, CLOSING_WAIT))


def rebuild(
    storage: StoragePath, experiment: str, uri: str | None = None, summary: Mapping[str, str] | None = None
) -> list[str]:
    """Bring MLflow up to date with the ledger; what is there already is left alone.

    Args:
        summary: files of the summary run (artifact path → text); None leaves it as it is.

    Returns:
        What MLflow did not take, as `Tracker.close` does; the same call again sends only that.

    Raises:
        TrackingError: if the place refuses, does not answer, or goes away for `RETRY_SECONDS`.
    """
    tracker = Tracker(uri, experiment, storage)
    tracker._settles_all = True
    tracker.start()
    if summary is not None:
        tracker.log_summary(summary)
    unsent = tracker.close(timeout=None)
    if tracker._start_error is not None:
        raise tracker._start_error
    if problem := tracker.state.problem:
        raise TrackingError(
            f"MLflow at {tracker.public_uri} did not take all of {experiment!r}: {problem}; "
            "do the same again, what is there is left alone."
        )
    return unsent
