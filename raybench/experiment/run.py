"""Run an experiment: tuning and tracking of what its storage does not hold yet."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO, get_args

from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import StorageError, StorageUnavailableError
from raybench.core.records import Pair, Stage, TrialRecord, TrialRequest
from raybench.experiment import recipes
from raybench.experiment.dataset_check import CheckedImages, check_images, describe_datasets
from raybench.experiment.progress import make_progress
from raybench.experiment.reconcile import (
    final_record,
    hygiene_notes,
    make_studies,
    read_intact_records,
    reopen,
    store_spec,
    withdraw_superseded,
)
from raybench.experiment.summary import summary_files
from raybench.experiment.tracked_marker import is_tracked, mark_tracked
from raybench.spec import ExperimentSpec
from raybench.store import layout
from raybench.store.files import (
    ExclusiveLock,
    StoragePath,
    absolute_path,
    exclusive_lock,
    remove,
    write_atomic,
)
from raybench.store.files.locks import LockHeldError
from raybench.tracking import Tracker
from raybench.tuning.driver import tune_experiment
from raybench.tuning.importance import store_importances
from raybench.tuning.job import ResourceDemand, TrialListener, TuningJob, kind_of_trial
from raybench.tuning.study import PairStudy

TRACKING_TIMEOUT_SECONDS = 60.0
"""How long the end of a run waits for an unreachable tracking server."""

GRACE_SECONDS = 10.0
"""The same after SIGTERM, and when the storage is full or unreachable."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    measured: list[Pair]
    failed: dict[Pair, str] = field(default_factory=dict)
    """Pair → why it has no result."""
    is_interrupted: bool = False
    is_terminated: bool = False
    """Interrupted by SIGTERM."""
    unsent: list[str] = field(default_factory=list)
    """Trials that the tracking server has not received; `raybench track` sends them."""
    notes: list[str] = field(default_factory=list)
    """Sentences on images that were left out of datasets and that were not printed before the start."""
    tracking_uri: str
    tracking_address: str = ""
    """URL of the runs in a browser, if a server holds them."""
    num_trials_run: int


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run an experiment: what does not change its measurements, and so is not in the spec."""

    tracking_uri: str | None = None
    """MLflow server; by default a SQLite file in the storage, for a bucket on this machine."""
    num_cpus: int | None = None
    """CPUs of a local Ray; None uses all of the machine's."""
    wait_seconds: float | None = None
    """How long to wait for nodes that the cluster lacks; None: only for those that its autoscaler can add."""
    stream: TextIO | None = None
    """Where progress is shown; standard output by default."""


def run_experiment(spec: ExperimentSpec, storage: StoragePath, options: RunOptions | None = None) -> Outcome:
    """Run the trials of the spec that the storage does not hold yet.

    Args:
        spec: the checked spec; it may extend a stored spec of the same name, not contradict it.
        storage: folder or bucket of results, features and ledger; a missing folder is created.
        options: tracking server, limits and output.

    Raises:
        SpecError: if the storage holds another experiment of this name.
        StorageError: if the storage cannot be written, or another process runs this experiment on it.
        TrackingError: if the tracking server cannot be reached at the start.
        DataError: if a dataset cannot be read as the spec describes it.
        ResourceError: if no node can run one of the trials.
        StorageUnavailableError: if the storage becomes full or unreachable; the same call resumes.
    """
    options = options or RunOptions()
    storage = absolute_path(storage)
    require_writable(storage)
    print(describe_datasets(spec), file=options.stream, flush=True)
    with _only_driver(storage, spec.name, options.stream) as lock:
        for sentence in store_spec(spec, storage):
            print(f"note            this spec extends the stored one: {sentence}", file=options.stream)
        return _Run(spec, storage, options, lock).outcome()


class _Run(TrialListener):
    """One run of an experiment, while this process is its only driver."""

    def __init__(
        self, spec: ExperimentSpec, storage: StoragePath, options: RunOptions, lock: ExclusiveLock
    ) -> None:
        self._spec = spec
        self._storage = storage
        self._options = options
        self._lock = lock
        notes: list[str] = []
        self._studies = make_studies(spec, read_intact_records(storage, spec.name, notes.append))
        self._tracker = Tracker(options.tracking_uri, spec.name, storage)
        self._progress = make_progress(self._studies, options.stream)
        for sentence in notes:
            self.note(sentence)
        self._sigterm = threading.Event()
        self._num_trials_run = 0
        self._images = CheckedImages(left_out=[], num_shards={})

    def outcome(self) -> Outcome:
        """Run the trials that are left, and return how the run ended."""
        unsent: list[str] = []
        if self._is_finished and is_tracked(self._storage, self._spec, self._tracker.uri):
            self._store_importances()
        else:
            if not self._is_finished:
                self._images = check_images(self._spec, self._storage, self.note)
            unsent = self._run_tracked()
            if self._is_finished and not unsent:
                mark_tracked(self._storage, self._spec, self._tracker.uri)
        failed = {study.pair: study.failure for study in self._studies if study.failure is not None}
        return Outcome(
            measured=[s.pair for s in self._studies if s.is_finished and s.pair not in failed],
            failed=failed,
            is_interrupted=not self._is_finished,
            is_terminated=self._sigterm.is_set(),
            unsent=unsent,
            notes=[note for note in hygiene_notes(self._studies) if note not in self._images.left_out],
            tracking_uri=self._tracker.public_uri,
            tracking_address=self._tracker.table_address,
            num_trials_run=self._num_trials_run,
        )

    @property
    def _is_finished(self) -> bool:
        return all(study.is_finished for study in self._studies)

    def _run_tracked(self) -> list[str]:
        """Tune, write recipes and summary; return the trials that MLflow has not received."""
        self._tracker.start()
        is_stopped = False
        try:
            if self._is_finished:
                for study in self._studies:
                    for record in study.records.values():
                        self._tracker.log(record)
            else:
                with self._progress:
                    tune_experiment(self._job(), self)
            if self._is_finished:
                self._store_importances()
            winners = {s.pair: s.winner for s in self._studies if s.is_finished}
            recipes.write_all(self._storage, self._spec, winners)
            self._tracker.log_summary(summary_files(self._storage, self._spec.name))
        except StorageUnavailableError:
            is_stopped = True
            raise
        finally:
            # SIGKILL follows SIGTERM within half a minute, and MLflow's database may be on the full disk. The
            # next run sends the missing trials.
            is_short = is_stopped or self._sigterm.is_set()
            unsent = self._tracker.close(GRACE_SECONDS if is_short else TRACKING_TIMEOUT_SECONDS)
        return unsent

    def _job(self) -> TuningJob:
        spec = self._spec
        return TuningJob(
            studies=self._studies,
            storage=self._storage,
            spec_digest=spec.digest,
            resources=resource_demand(spec, self._options.wait_seconds),
            num_shards=self._images.num_shards,
            early_stopping=spec.search.early_stopping,
            num_cpus=self._options.num_cpus,
        )

    def _store_importances(self) -> None:
        records = [record for study in self._studies for record in study.search_records]
        store_importances(self._storage, self._spec, records)

    def on_start(self, request: TrialRequest) -> None:
        self._lock.raise_if_lost()
        reopen(self._storage, request)
        self._progress.trial_started(request)

    def collect(self, request: TrialRequest, reason: str | None) -> TrialRecord:
        self._lock.raise_if_lost()
        return final_record(self._storage, request, reason)

    def on_end(self, study: PairStudy, request: TrialRequest, record: TrialRecord) -> None:
        self._num_trials_run += 1
        if request.stage != "features":
            self._tracker.log(record)
        self._progress.trial_ended(request, record)
        withdraw_superseded(self._storage, study)
        if study.is_finished:
            self._progress.pair_finished(study.pair)
            self._tracker.log_pair(study.pair)

    def on_sigterm(self) -> None:
        self._sigterm.set()

    def note(self, line: str) -> None:
        self._progress.note(line)


def resource_demand(spec: ExperimentSpec, wait_seconds: float | None) -> ResourceDemand:
    """What every kind of trial of the spec occupies."""
    trials: dict[str, tuple[str, Stage]] = {
        kind_of_trial(protocol, stage): (protocol, stage)
        for protocol in spec.protocols
        for stage in get_args(Stage)
        if stage != "features" or PROTOCOLS[protocol].uses_features
    }
    is_set = spec.resources.share(spec.protocols[0], "features").gpus is not None
    return ResourceDemand(
        per_trial={kind: spec.trial_resources(*trial) for kind, trial in trials.items()},
        is_explicit={kind: spec.sets_resources(*trial) for kind, trial in trials.items()},
        whole_gpu=() if is_set else ("features",),
        kinds=spec.resources.accelerators or (),
        wait_seconds=wait_seconds,
    )


def require_writable(storage: StoragePath) -> None:
    """Create the storage's folder if necessary, and write and delete a file in it.

    Raises:
        StorageError: if it cannot be written.
    """
    probe = layout.write_probe_file(storage)
    try:
        write_atomic(probe, lambda file: file.write(b""))
    except StorageUnavailableError as error:
        raise StorageError(str(error)) from error  # Before the start it is a mistake in the command.
    remove(probe)


@contextlib.contextmanager
def _only_driver(storage: StoragePath, experiment: str, stream: TextIO | None) -> Iterator[ExclusiveLock]:
    """Hold the experiment's lock during the block; raise if another process holds it."""

    def print_note(line: str) -> None:
        print(f"note      {line}", file=stream or sys.stdout, flush=True)

    lock = layout.lock_file(storage, experiment)
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(exclusive_lock(lock, blocking=False, on_wait=print_note))
        except LockHeldError as holder:
            raise StorageError(
                f"{holder} is running experiment {experiment!r} on {storage}; wait for it, "
                "or give another `--storage`."
            ) from None
        yield held
