"""spec → plan → tuning × tracking → results; the only place where the doors meet."""

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from raybench.catalog.tasks import parse_task
from raybench.core.errors import StorageError, StorageUnavailableError
from raybench.core.records import Pair, TrialRecord, TrialRequest, digest_of
from raybench.experiment import recipes
from raybench.experiment.progress import make_progress
from raybench.experiment.reconcile import (
    final_record,
    hygiene_notes,
    make_studies,
    reopen,
    store_spec,
    withdraw_superseded,
)
from raybench.experiment.summary import summary_files
from raybench.spec import ExperimentSpec
from raybench.store import layout, ledger
from raybench.store.files import (
    ExclusiveLock,
    StoragePath,
    absolute_path,
    exclusive_lock,
    read_bytes,
    remove,
    write_atomic,
)
from raybench.store.files.locks import LockHeldError
from raybench.tracking import Tracker
from raybench.tracking.address import sqlite_file
from raybench.tuning.driver import tune_experiment
from raybench.tuning.importance import keep_importances
from raybench.tuning.study import PairStudy

TRACKING_PATIENCE_SECONDS = 60.0
"""How long the end of a run waits for a tracking server that is away."""

GRACE_SECONDS = 10.0
"""The same after SIGTERM, and when the storage takes no writes."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    measured: list[Pair]
    failed: dict[Pair, str] = field(default_factory=dict)
    """Pair → why it has no result."""
    is_interrupted: bool = False
    is_terminated: bool = False
    """It was SIGTERM that interrupted."""
    unsent: list[str] = field(default_factory=list)
    """Trials that the tracking server has not seen; `raybench track` sends them."""
    notes: list[str] = field(default_factory=list)
    """What was found wrong with a dataset and put right."""
    tracking_uri: str
    tracking_address: str = ""
    """Where a browser shows the runs, if a server holds them."""
    num_trials_run: int


def run_experiment(
    spec: ExperimentSpec,
    storage: StoragePath,
    *,
    tracking_uri: str | None = None,
    num_cpus: int | None = None,
    wait_seconds: float | None = None,
    stream: TextIO | None = None,
) -> Outcome:
    """Run what the spec asks for and the storage does not hold yet.

    Args:
        spec: the checked spec; a spec stored under the same name may be extended, not contradicted.
        storage: folder or bucket of results, features and ledger; a folder is created if absent.
        tracking_uri: MLflow server; by default a SQLite file in the storage, of a bucket on this machine.
        num_cpus: limit of a local Ray; None takes the machine's.
        wait_seconds: how long to wait for nodes that a cluster does not have yet; None: only for those that
            its autoscaler can add.
        stream: where progress is shown; standard output by default.

    Raises:
        SpecError: if the storage holds another experiment of this name.
        StorageError: if the storage cannot be written, or another process runs this experiment on it.
        TrackingError: if the tracking server cannot be reached at the start.
        ResourceError: if no node can ever run one of the trials.
        StorageUnavailableError: if the storage fills up or stays away on the way; the same call goes on.
    """
    storage = absolute_path(storage)
    require_writable(storage)
    with _only_one(storage, spec.name, stream) as held:
        store_spec(spec, storage)
        studies = make_studies(spec, ledger.read_records(storage, spec.name))
        tracker = Tracker(tracking_uri, spec.name, storage)
        unsent: list[str] = []
        sigterm = threading.Event()
        uri = tracker.uri
        if all(study.is_finished for study in studies) and _is_tracked(storage, spec, uri):
            num_trials_run, is_finished = 0, True
            _keep_importances(storage, spec, studies)
        else:
            num_trials_run, is_finished, unsent = _tune(
                spec, storage, studies, tracker, num_cpus, wait_seconds, stream, sigterm, held
            )
            if is_finished and not unsent:
                _mark_tracked(storage, spec, uri)
    failed = {study.pair: study.failure for study in studies if study.failure is not None}
    return Outcome(
        measured=[s.pair for s in studies if s.is_finished and s.pair not in failed],
        failed=failed,
        is_interrupted=not is_finished,
        is_terminated=sigterm.is_set(),
        unsent=unsent,
        notes=hygiene_notes(studies),
        tracking_uri=tracker.public_uri,
        tracking_address=tracker.table_address,
        num_trials_run=num_trials_run,
    )


def _tune(
    spec: ExperimentSpec,
    storage: StoragePath,
    studies: list[PairStudy],
    tracker: Tracker,
    num_cpus: int | None,
    wait_seconds: float | None,
    stream: TextIO | None,
    sigterm: threading.Event,
    held: ExclusiveLock,
) -> tuple[int, bool, list[str]]:
    """(trials run, whether everything is finished, trials that MLflow has not seen)."""
    tracker.start()
    is_stopped = False
    try:
        if all(study.is_finished for study in studies):
            num_run, is_finished = 0, True
            for study in studies:
                for record in study.records.values():
                    tracker.log(record)
        else:
            num_run, is_finished = _search(
                spec, storage, studies, tracker, num_cpus, wait_seconds, stream, sigterm, held
            )
        if is_finished:
            _keep_importances(storage, spec, studies)
        recipes.write_all(storage, spec, {s.pair: s.winner for s in studies if s.is_finished})
        tracker.log_summary(summary_files(storage, spec.name))
    except StorageUnavailableError:
        is_stopped = True
        raise
    finally:
        # Who sends SIGTERM waits half a minute at most before SIGKILL, and MLflow's database may lie on the
        # disk that is full; MLflow is caught up with next time.
        patience = GRACE_SECONDS if is_stopped or sigterm.is_set() else TRACKING_PATIENCE_SECONDS
        unsent = tracker.close(patience)
    return num_run, is_finished, unsent


def _keep_importances(storage: StoragePath, spec: ExperimentSpec, studies: list[PairStudy]) -> None:
    keep_importances(storage, spec, [record for study in studies for record in study.search_records])


def _search(
    spec: ExperimentSpec,
    storage: StoragePath,
    studies: list[PairStudy],
    tracker: Tracker,
    num_cpus: int | None,
    wait_seconds: float | None,
    stream: TextIO | None,
    sigterm: threading.Event,
    held: ExclusiveLock,
) -> tuple[int, bool]:
    num_run = 0
    progress = make_progress(studies, stream)

    def collect(request: TrialRequest, reason: str | None) -> TrialRecord:
        held.raise_if_lost()
        return final_record(storage, request, reason)

    def on_start(request: TrialRequest) -> None:
        held.raise_if_lost()
        reopen(storage, request)
        progress.trial_started(request)

    def on_end(study: PairStudy, request: TrialRequest, record: TrialRecord) -> None:
        nonlocal num_run
        num_run += 1
        if request.stage != "features":
            tracker.log(record)
        progress.trial_ended(request, record)
        withdraw_superseded(storage, study)
        if study.is_finished:
            progress.pair_finished(study.pair)
            tracker.log_pair(study.pair)

    with progress:
        is_finished = tune_experiment(
            studies,
            storage=storage,
            spec_revision=spec.digest,
            resources={name: spec.trial_resources(name) for name in spec.protocols},
            demanded=spec.resources.demanded,
            kinds=spec.resources.accelerators or (),
            feature_key=lambda study: f"{study.pair.backbone}\n{parse_task(study.pair.task).dataset}",
            with_features=set(),
            early_stopping=spec.search.early_stopping,
            num_cpus=num_cpus,
            on_start=on_start,
            collect=collect,
            on_end=on_end,
            on_sigterm=sigterm.set,
            wait_seconds=wait_seconds,
            say=progress.note,
        )
    return num_run, is_finished


def _tracked_marker(storage: StoragePath, spec: ExperimentSpec) -> StoragePath:
    return layout.tracked_file(storage, spec.name)


def _mark_tracked(storage: StoragePath, spec: ExperimentSpec, uri: str) -> None:
    """Note that MLflow at `uri` holds all of this spec, so that a run without work need not ask it."""
    content = json.dumps({"spec": spec.digest, "uri": digest_of(uri)}).encode()
    write_atomic(_tracked_marker(storage, spec), lambda file: file.write(content))


def _is_tracked(storage: StoragePath, spec: ExperimentSpec, uri: str) -> bool:
    if (file := sqlite_file(uri)) is not None and not file.exists():
        return False
    try:
        marked = json.loads(read_bytes(_tracked_marker(storage, spec)))
    except FileNotFoundError:
        return False
    return bool(marked == {"spec": spec.digest, "uri": digest_of(uri)})


def require_writable(storage: StoragePath) -> None:
    """Create the storage's folder if need be and write into it once.

    Raises:
        StorageError: if that cannot be done.
    """
    probe = layout.write_probe_file(storage)
    try:
        write_atomic(probe, lambda file: file.write(b""))
    except StorageUnavailableError as error:
        raise StorageError(str(error)) from error  # Nothing has begun: a mistake in the command.
    remove(probe)


@contextlib.contextmanager
def _only_one(storage: StoragePath, experiment: str, stream: TextIO | None = None) -> Iterator[ExclusiveLock]:
    def say(line: str) -> None:
        print(f"note      {line}", file=stream or sys.stdout, flush=True)

    lock = layout.lock_file(storage, experiment)
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(exclusive_lock(lock, blocking=False, on_wait=say))
        except LockHeldError as who:
            raise StorageError(
                f"{who} is running experiment {experiment!r} on {storage}; wait for it, "
                "or give another `--storage`."
            ) from None
        yield held
