"""Send an experiment's trials to MLflow from a thread of its own, so that the driver never waits.

Only ids are queued; records are read from the ledger when their turn comes. If a process is killed before
everything was sent, the next `start` sends the rest. Live tracking and `rebuild` share one code path.
"""

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raybench.core.errors import RaybenchError, TrackingError
from raybench.core.records import Pair, TrialRecord
from raybench.store.files import StoragePath
from raybench.tracking import connection
from raybench.tracking.address import sqlite_file, tracking_uri, without_credentials
from raybench.tracking.experiment_sync import ExperimentSync, read_labels
from raybench.tracking.job_queue import JobQueue, OutOfTimeError
from raybench.tracking.run_writer import RunWriter
from raybench.tracking.shared_view import table_address

LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 8
"""Timeout of the first requests to a server."""
START_SECONDS = 60
"""Limit for loading MLflow and connecting; databases have no timeout of their own."""
REQUEST_SECONDS = 30
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between attempts while the server is unavailable: doubled each time, up to the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingState:
    """Progress of tracking, to be displayed."""

    num_waiting: int
    """Trials, pairs and summaries not in MLflow yet."""
    problem: str
    """Why sending is blocked at the moment; empty if it is not."""


class Tracker:
    """Sends one experiment of one storage to MLflow: `start`, any number of `log`, then `close`."""

    def __init__(
        self, uri: str | None, experiment: str, storage: StoragePath, *, rewrites_all_pairs: bool = False
    ) -> None:
        """
        Args:
            uri: tracking URI; None: `MLFLOW_TRACKING_URI`, else SQLite in the storage.
            experiment: its name in the ledger and in MLflow.
            storage: folder or bucket with the ledger; the spec is saved there before `start`.
            rewrites_all_pairs: compare every pair's run with the ledger at the end, not only changed ones.
        """
        self.uri = tracking_uri(storage, uri)
        self.rejected: dict[str, str] = {}
        """Trial id or pair slug → why MLflow refused it for good."""
        self.table_address = ""
        """URL of the table of runs; empty until connected, and for a database."""
        self.start_error: Exception | None = None
        """Why the connection failed."""
        self._experiment = experiment
        self._storage = storage
        self._rewrites_all_pairs = rewrites_all_pairs
        self._queue = JobQueue()
        self._summary: Mapping[str, str] = {}
        self._problem = ""
        self._is_new = False
        """True if the database did not exist at `start`."""
        self._is_connected = threading.Event()
        self._thread = threading.Thread(target=self._work, name="raybench-tracking", daemon=True)

    @property
    def public_uri(self) -> str:
        """The tracking URI without credentials."""
        return without_credentials(self.uri)

    @property
    def state(self) -> TrackingState:
        return TrackingState(num_waiting=len(self._queue.unfinished), problem=self._problem)

    def start(self) -> None:
        """Connect, and queue what an earlier run of this experiment could not send.

        Does not wait if there is nothing to check: a SQLite file that does not exist yet.

        Raises:
            TrackingError: if MLflow refuses or does not answer.
        """
        database = sqlite_file(self.uri)
        self._is_new = database is not None and not database.exists()
        if database is not None:
            connection.check_sqlite(database, self.uri)
        self._thread.start()
        if self._is_new:
            return
        if not self._is_connected.wait(START_SECONDS):
            timeout = TimeoutError(f"no answer within {START_SECONDS} s")
            raise TrackingError(connection.refusal(self.uri, timeout))
        if self.start_error is not None:
            raise self.start_error

    def log(self, record: TrialRecord) -> None:
        """Queue the id of a finished trial whose record is in the ledger. Never waits, never raises."""
        self._queue.put(("trial", record.trial_id))

    def log_pair(self, pair: Pair) -> None:
        """Queue a pair's final numbers; `close` does this for every changed pair."""
        self._queue.put(("pair", pair.slug))

    def log_summary(self, files: Mapping[str, str]) -> None:
        """Queue the summary run: artifact path → text, e.g. `ranking.md`, `ranking.csv`."""
        self._summary = dict(files)
        self._queue.put(("summary", ""))

    def close(self, timeout: float | None = 60.0) -> list[str]:
        """Send the queue and the final numbers of every changed pair, then stop the thread.

        Args:
            timeout: limit in seconds; None: until MLflow accepts nothing for `GIVE_UP_SECONDS`.

        Returns:
            Sorted ids of trials, and slugs of pairs, that MLflow refused or did not receive in time. They
            are in the ledger, and `rebuild` sends them.
        """
        self._queue.close(timeout)
        if self._thread.is_alive():
            self._thread.join(timeout)
        unsent = {name for kind, name in self._queue.unfinished if kind == "trial"}
        return sorted(unsent | set(self.rejected))

    def _work(self) -> None:
        """Body of the tracking thread."""
        connected = self._connect()
        if connected is None:
            return
        sync, writer = connected
        try:
            if not self._attempt(self._experiment, writer.find_runs, writer):
                return  # Without the list of existing runs, everything would be written twice.
            for trial_id in sync.finished_trials():
                self._queue.put(("trial", trial_id))
            self._carry_out_jobs(sync, writer)
            for slug in sync.all_pairs() if self._rewrites_all_pairs else sync.changed_pairs():
                self._attempt(slug, functools.partial(sync.write_pair, slug), writer)
        except OutOfTimeError:
            LOG.warning("MLflow at %s was unavailable until the end: %s", self.public_uri, self._problem)
        except Exception as error:  # A thread that ends silently would look like a slow server.
            self._problem = without_credentials(f"{type(error).__name__}: {error}")
            LOG.warning("tracking has stopped, `raybench track` sends what is missing: %s", self._problem)

    def _connect(self) -> tuple[ExperimentSync, RunWriter] | None:
        """Connect to MLflow; return None if that fails, with the reason in `start_error`."""
        try:
            labels = read_labels(self._storage, self._experiment)
            with connection.request_settings(CONNECT_SECONDS):
                writer = connection.connect(self.uri, labels, self._storage)
            self.table_address = table_address(self.uri, writer.experiment_id)
            return ExperimentSync(self._storage, self._experiment, labels, writer), writer
        except Exception as error:
            is_explained = isinstance(error, RaybenchError)
            self.start_error = error if is_explained else TrackingError(connection.refusal(self.uri, error))
            self._problem = str(self.start_error)
            if self._is_new:
                LOG.warning("%s", self._problem)  # `start` has returned already.
            return None
        finally:
            self._is_connected.set()

    def _carry_out_jobs(self, sync: ExperimentSync, writer: RunWriter) -> None:
        """Carry out queued jobs until the queue is closed and empty."""
        while (job := self._queue.take()) is not None:
            kind, name = job
            actions: dict[str, Callable[[], None]] = {
                "trial": functools.partial(sync.write_trial, name),
                "pair": functools.partial(sync.write_pair, name),
                "summary": lambda: sync.write_summary(self._summary),
            }
            self._attempt(name or kind, actions[kind], writer)

    def _attempt(self, key: str, action: Callable[[], None], writer: RunWriter) -> bool:
        """Repeat an action until it succeeds (True) or is refused for good (False).

        A refused action is tried once more after looking its run up: somebody may have deleted the run.

        Raises:
            OutOfTimeError: if `close` runs out of time first.
        """
        pause, has_looked_up = FIRST_PAUSE, False
        while True:
            try:
                with connection.request_settings(REQUEST_SECONDS):
                    action()
            except Exception as error:
                message = without_credentials(f"{type(error).__name__}: {error}")
                is_permanent = connection.is_permanent(error)
                if is_permanent and has_looked_up:
                    self.rejected[key] = message
                    LOG.warning("MLflow refuses %s: %s", key, message)
                    return False
                writer.forget(key)
                if is_permanent:
                    has_looked_up = True
                    continue
                if not self._problem:
                    LOG.warning("MLflow does not take %s, trying again: %s", key, message)
                self._problem = message
                self._queue.pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if self._problem:
                    LOG.warning("MLflow answers again; nothing was lost")
                self._problem = ""
                self._queue.record_success()
                return True


def rebuild(
    storage: StoragePath, experiment: str, uri: str | None = None, summary: Mapping[str, str] | None = None
) -> list[str]:
    """Bring MLflow up to date with the ledger; runs that are up to date are not touched.

    Args:
        storage: folder or bucket with the ledger.
        experiment: its name.
        uri: tracking URI, as in `Tracker`.
        summary: files of the summary run (artifact path → text); None leaves it as it is.

    Returns:
        Ids that MLflow did not take, as `Tracker.close`; the same call again sends only those.

    Raises:
        TrackingError: if MLflow refuses, does not answer, or is unavailable for `GIVE_UP_SECONDS`.
    """
    tracker = Tracker(uri, experiment, storage, rewrites_all_pairs=True)
    tracker.start()
    if summary is not None:
        tracker.log_summary(summary)
    unsent = tracker.close(timeout=None)
    if tracker.start_error is not None:
        raise tracker.start_error
    if problem := tracker.state.problem:
        raise TrackingError(
            f"MLflow at {tracker.public_uri} did not take all of {experiment!r}: {problem}; "
            "repeat the command: what is there is left alone."
        )
    return unsent
