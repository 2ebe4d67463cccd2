"""spec → plan → tuning × tracking → results; the only place where the doors meet."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from raybench import ledger, recipes, results
from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.tasks import PROTOCOLS, parse_task
from raybench.errors import RaybenchError, SpecError, StorageError
from raybench.metrics import METRICS
from raybench.progress import make_progress
from raybench.records import Pair, TrialRecord, TrialRequest, TrialStatus, digest_of
from raybench.spec import ExperimentSpec, diff
from raybench.storage import write_whole
from raybench.tracking import Tracker
from raybench.tracking.address import sqlite_file
from raybench.tuning.driver import tune_experiment
from raybench.tuning.study import PairStudy, StudyPlan

ENDED: tuple[TrialStatus, ...] = ("completed", "stopped")
"""Statuses that are not run again. A failed trial is: its cause may have been mended."""
TRACKING_PATIENCE_SECONDS = 60.0
"""How long the end of a run waits for a tracking server that is away."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    measured: list[Pair]
    failed: dict[Pair, str] = field(default_factory=dict)
    """Pair → why it has no result."""
    is_interrupted: bool = False
    unsent: list[str] = field(default_factory=list)
    """Trials that the tracking server has not seen; `raybench track` sends them."""
    tracking_uri: str
    num_trials_run: int


def run_experiment(
    spec: ExperimentSpec,
    storage: Path,
    *,
    tracking_uri: str | None = None,
    num_cpus: int | None = None,
    stream: TextIO | None = None,
) -> Outcome:
    """Run what the spec asks for and the storage does not hold yet.

    Args:
        spec: the checked spec; a spec stored under the same name may be extended, not contradicted.
        storage: folder of results, features and ledger; created if absent.
        tracking_uri: MLflow server; by default a SQLite file in the storage.
        num_cpus: limit of a local Ray; None takes the machine's.
        stream: where progress is shown; standard output by default.

    Raises:
        SpecError: if the storage holds another experiment of this name.
        StorageError: if the storage cannot be written, or another process runs this experiment on it.
        TrackingError: if the tracking server cannot be reached at the start.
        ResourceError: if no node can ever run one of the trials.
    """
    storage = storage.absolute()
    require_writable(storage)
    with _only_one(storage, spec.name):
        _store_spec(spec, storage)
        studies = make_studies(spec, ledger.read_records(storage, spec.name))
        tracker = Tracker(tracking_uri, spec.name, storage)
        unsent: list[str] = []
        uri = tracker.uri
        if all(study.is_finished for study in studies) and _is_tracked(storage, spec, uri):
            num_trials_run, is_finished = 0, True
        else:
            num_trials_run, is_finished, unsent = _tune(spec, storage, studies, tracker, num_cpus, stream)
            if is_finished and not unsent:
                _mark_tracked(storage, spec, uri)
    failed = {study.pair: study.failure for study in studies if study.failure is not None}
    return Outcome(
        measured=[s.pair for s in studies if s.is_finished and s.pair not in failed],
        failed=failed,
        is_interrupted=not is_finished,
        unsent=unsent,
        tracking_uri=tracker.public_uri,
        num_trials_run=num_trials_run,
    )


def make_studies(spec: ExperimentSpec, records: list[TrialRecord]) -> list[PairStudy]:
    """One study per pair, each with the records of its ended trials."""
    by_pair: dict[Pair, dict[str, TrialRecord]] = {pair: {} for pair in spec.pairs()}
    for record in records:
        pair = Pair(backbone=record.backbone, task=record.task)
        if pair in by_pair and record.stage != "features" and _is_ended(record, spec):
            by_pair[pair][record.trial_id] = record
    plans = {name: study_plan(spec, name) for name in spec.protocols}
    return [
        PairStudy(pair, plans[parse_task(pair.task).protocol.name], records)
        for pair, records in by_pair.items()
    ]


def _is_ended(record: TrialRecord, spec: ExperimentSpec) -> bool:
    """Whether there is nothing left to do for a trial, evaluators added to the spec since included."""
    if record.stage != "final" or record.status not in ENDED:
        return record.status in ENDED
    measured = {key.split("/")[1] for key in record.metrics}
    return all(set(EVALUATORS[name].metrics) <= measured for name in spec.evaluators)


def study_plan(spec: ExperimentSpec, protocol: str) -> StudyPlan:
    """What a study of that protocol does in this experiment."""
    info = PROTOCOLS[protocol]
    return StudyPlan(
        experiment=spec.name,
        space=spec.space_of(protocol),
        objective=info.objective,
        direction=METRICS[info.objective].direction,
        sampler=spec.search.sampler,
        num_trials=spec.search.num_trials,
        search_seed=spec.search.seed,
        seeds=tuple(spec.seeds),
        max_epochs=spec.max_epochs_of(protocol),
        needs_features=info.uses_features,
        fixed=dict(spec.hparams) if spec.hparams is not None else None,
    )


def _tune(
    spec: ExperimentSpec,
    storage: Path,
    studies: list[PairStudy],
    tracker: Tracker,
    num_cpus: int | None,
    stream: TextIO | None,
) -> tuple[int, bool, list[str]]:
    """(trials run, whether everything is finished, trials that MLflow has not seen)."""
    tracker.start()
    try:
        if all(study.is_finished for study in studies):
            num_run, is_finished = 0, True
            for study in studies:
                for record in study.records.values():
                    tracker.log(record)
        else:
            num_run, is_finished = _search(spec, storage, studies, tracker, num_cpus, stream)
        recipes.write_all(storage, spec, {s.pair: s.winner for s in studies if s.is_finished})
        tracker.log_summary(_summary(storage, spec.name))
    finally:
        unsent = tracker.close(TRACKING_PATIENCE_SECONDS)
    return num_run, is_finished, unsent


def _summary(storage: Path, experiment: str) -> dict[str, str]:
    """Files of MLflow's summary run: the ranking as far as it is complete."""
    from raybench.report.terminal import rank_storage

    try:
        return {
            f"ranking.{suffix}": rank_storage(
                storage, experiment=experiment, output_format=output_format, allow_missing=True
            )
            for suffix, output_format in (("md", "markdown"), ("csv", "csv"))
        }
    except RaybenchError as error:
        return {"ranking.md": f"No ranking: {error}"}


def _search(
    spec: ExperimentSpec,
    storage: Path,
    studies: list[PairStudy],
    tracker: Tracker,
    num_cpus: int | None,
    stream: TextIO | None,
) -> tuple[int, bool]:
    num_run = 0
    progress = make_progress(studies, stream)

    def collect(request: TrialRequest, reason: str | None) -> TrialRecord:
        return final_record(storage, request, reason)

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

    demands = spec.resources
    with progress:
        is_finished = tune_experiment(
            studies,
            storage=storage,
            spec_revision=spec.digest,
            resources={name: spec.trial_resources(name) for name in spec.protocols},
            demanded=(demands.cpus_per_trial is not None, demands.gpus_per_trial is not None),
            feature_key=lambda study: f"{study.pair.backbone}\n{parse_task(study.pair.task).dataset}",
            with_features=set(),
            early_stopping=spec.search.early_stopping,
            num_cpus=num_cpus,
            on_start=progress.trial_started,
            collect=collect,
            on_end=on_end,
        )
    return num_run, is_finished


def withdraw_superseded(storage: Path, study: PairStudy) -> None:
    """Take back final results of an earlier winner once a longer search has found another.

    Old and new would claim the same identity in the measurement table.
    """
    if not study.is_search_over:
        return
    wanted = {request.trial_id for request in study.final_requests()}
    stale = [r for r in study.records.values() if r.stage == "final" and r.trial_id not in wanted]
    for record in stale:
        results.withdraw(storage, record.experiment, record.trial_id)
        ledger.write_record(
            storage, replace(record, status="failed", reason="superseded by a better search trial")
        )
        del study.records[record.trial_id]


def final_record(storage: Path, request: TrialRequest, reason: str | None) -> TrialRecord:
    """The trial's record once Tune is done with it: as the worker left it, or stopped, or failed."""
    record = ledger.read_record(storage, request.experiment, request.trial_id)
    if reason is None and record is not None and record.status != "running":
        return record
    if record is None:
        reason = reason or "it ended without writing its record"
        record = TrialRecord.failed(request, reason, at=time.time())
    elif reason is None:
        record = replace(record, status="stopped")
    else:
        record = replace(record, status="failed", reason=reason, metrics={})
    ledger.write_record(storage, record)
    return record


def _store_spec(spec: ExperimentSpec, storage: Path) -> None:
    stored = ledger.load_spec(storage, spec.name)
    if stored is not None:
        change = diff(ExperimentSpec.from_dict(stored), spec)
        if change.conflicts:
            raise SpecError(
                f"{storage} already holds an experiment {spec.name!r} that differs",
                [*change.conflicts, "rename the experiment, or give another `--storage`."],
            )
    ledger.save_spec(storage, spec.name, spec.to_dict())


def _tracked_marker(storage: Path, spec: ExperimentSpec) -> Path:
    return ledger.experiment_dir(storage, spec.name) / "tracked.json"


def _mark_tracked(storage: Path, spec: ExperimentSpec, uri: str) -> None:
    """Note that MLflow at `uri` holds all of this spec, so that a run without work need not ask it."""
    content = json.dumps({"spec": spec.digest, "uri": digest_of(uri)}).encode()
    write_whole(_tracked_marker(storage, spec), lambda file: file.write(content))


def _is_tracked(storage: Path, spec: ExperimentSpec, uri: str) -> bool:
    marker = _tracked_marker(storage, spec)
    if not marker.exists() or ((file := sqlite_file(uri)) is not None and not file.exists()):
        return False
    return bool(json.loads(marker.read_text()) == {"spec": spec.digest, "uri": digest_of(uri)})


def require_writable(storage: Path) -> None:
    """Create the storage folder if need be and write into it once.

    Raises:
        StorageError: if that cannot be done.
    """
    probe = storage / f".writable-{os.getpid()}"
    write_whole(probe, lambda file: file.write(b""))
    probe.unlink(missing_ok=True)


@contextlib.contextmanager
def _only_one(storage: Path, experiment: str) -> Iterator[None]:
    folder = ledger.experiment_dir(storage, experiment)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "running.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StorageError(
            f"another process is running experiment {experiment!r} on {storage}; wait for it, "
            "or give another `--storage`."
        ) from None
    try:
        yield
    finally:
        lock.release()
