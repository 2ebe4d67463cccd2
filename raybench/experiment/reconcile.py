"""Work left of an experiment: its plan minus the trial records that the storage holds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import SpecError
from raybench.core.records import Pair, TrialRecord, TrialRequest, TrialStatus
from raybench.data.dataset import left_out_sentences
from raybench.spec import ExperimentSpec, diff
from raybench.store import layout, ledger
from raybench.store.files import StoragePath, map_concurrently, remove_tree
from raybench.store.result_files import missing_or_damaged
from raybench.store.withdrawal import withdraw_results
from raybench.tuning.study import PairStudy, StudyPlan

ENDED: tuple[TrialStatus, ...] = ("completed", "stopped")
"""Trials with these statuses are not run again. Failed ones are: their cause may have been removed."""


def make_studies(spec: ExperimentSpec, records: list[TrialRecord]) -> list[PairStudy]:
    """One study per pair, each with the records of its ended trials."""
    by_pair: dict[Pair, dict[str, TrialRecord]] = {pair: {} for pair in spec.pairs()}
    for record in records:
        if record.pair in by_pair and record.stage != "features" and _is_ended(record, spec):
            by_pair[record.pair][record.trial_id] = record
    return [PairStudy(pair, study_plan(spec, pair), records) for pair, records in by_pair.items()]


def _is_ended(record: TrialRecord, spec: ExperimentSpec) -> bool:
    """Whether a trial needs no further run; a final one needs every evaluator with the spec's settings."""
    if record.stage != "final" or record.status not in ENDED:
        return record.status in ENDED
    evaluators = spec.evaluators_of(record.pair.task.protocol)
    return all(record.evaluations.get(name) == settings.digest for name, settings in evaluators.items())


def study_plan(spec: ExperimentSpec, pair: Pair) -> StudyPlan:
    """The plan of that pair's study in this experiment."""
    protocol = pair.task.protocol
    info = PROTOCOLS[protocol]
    return StudyPlan(
        experiment=spec.name,
        space=spec.space_of(protocol, pair.backbone),
        objective=spec.objective_of(protocol),
        sampler=spec.search.sampler,
        num_trials=spec.search.num_trials,
        search_seed=spec.search.seed,
        seeds=tuple(spec.seeds),
        max_epochs=spec.max_epochs_of(protocol),
        needs_features=info.uses_features,
        packed=spec.packed_of(protocol, pair.backbone),
        grid_points=spec.search.grid_points,
        max_parallel=spec.search.num_parallel,
        converged=spec.search.converged,
        recipe=dict(spec.hparams) if spec.hparams is not None else None if info.space else {},
    )


def withdraw_superseded(storage: StoragePath, study: PairStudy) -> None:
    """Withdraw final results of an earlier winner once a longer search has found another.

    The results of both would share one identity in the measurement table.
    """
    if not study.is_search_over:
        return
    current = {request.trial_id for request in study.final_requests()}
    stale = [r for r in study.records.values() if r.stage == "final" and r.trial_id not in current]
    for record in stale:
        withdraw_results(storage, record.experiment, record.trial_id)
        ledger.write_record(
            storage, replace(record, status="failed", reason="superseded by a better search trial", files={})
        )
        study.forget_final(record.trial_id)


def read_intact_records(
    storage: StoragePath, experiment: str, note: Callable[[str], None]
) -> list[TrialRecord]:
    """The records of an experiment, after withdrawing final trials with missing or damaged results files.

    Those trials, and trials with damaged records, are run again. `note` takes a sentence about each.

    Raises:
        StorageError: if the storage cannot be read or written.
    """

    def on_damaged(path: StoragePath) -> None:
        note(f"the trial record {str(path)!r} is damaged; the trial is run again if the spec still has it.")

    def check(record: TrialRecord) -> TrialRecord:
        if record.stage != "final" or not (record.status in ENDED or record.files):
            return record
        if (path := missing_or_damaged(storage, record)) is None:
            return record
        note(f"{str(path)!r} is missing or damaged; trial {record.trial_id} is measured again.")
        withdraw_results(storage, experiment, record.trial_id)
        reason = f"its results file {path.name} was missing or damaged"
        withdrawn = replace(record, status="failed", reason=reason, values=(), files={}, evaluations={})
        ledger.write_record(storage, withdrawn)
        return withdrawn

    records = ledger.read_records(storage, experiment, on_damaged=on_damaged)
    return map_concurrently(check, records, storage)


def hygiene_notes(studies: list[PairStudy]) -> list[str]:
    """One sentence per dataset and reason for which images were left out, sorted."""
    notes: set[str] = set()
    for study in studies:
        dataset = study.pair.task.dataset
        for record in study.records.values():
            dropped = sum(record.provenance.get("duplicates_removed", {}).values())
            notes.update(left_out_sentences(dataset, dropped, record.provenance.get("num_skipped", 0)))
    return sorted(notes)


def reopen(storage: StoragePath, request: TrialRequest) -> None:
    """Set the record of an earlier attempt to `running`: its status is not that of the new attempt."""
    record = ledger.read_record(storage, request.experiment, request.trial_id)
    if record is not None and record.status != "running":
        ledger.write_record(storage, replace(record, status="running", reason=""))


def final_record(storage: StoragePath, request: TrialRequest, reason: str | None) -> TrialRecord:
    """Finish the record of a trial that Tune has ended: as the worker wrote it, or stopped, or failed.

    Args:
        storage: of the ledger.
        request: the trial.
        reason: why its process died; None if it did not.
    """
    record = ledger.read_record(storage, request.experiment, request.trial_id)
    if record is not None and record.status != "running":
        return record  # Written by this attempt, as `reopen` set it to `running` at the start.
    if record is None:
        reason = reason or "it ended without writing its record"
        record = replace(TrialRecord.of(request, "failed", reason), started_at=time.time())
    elif reason is None:
        is_complete = bool(record.curve) and record.curve[-1].epoch >= request.max_epochs
        record = replace(record, status="completed" if is_complete else "stopped")
    else:
        # Keep values on test: the process died in an evaluator, and only evaluators will run again.
        values = record.values if record.is_measured_on_test else ()
        record = replace(record, status="failed", reason=reason, values=values)
    ledger.write_record(storage, record)
    return record


def store_spec(spec: ExperimentSpec, storage: StoragePath) -> list[str]:
    """Store the spec, in place of an earlier one of the same name that it extends.

    Returns:
        What it adds to the earlier one, in sentences.

    Raises:
        SpecError: if it contradicts the stored one.
    """
    stored, extends = ledger.load_spec(storage, spec.name), list[str]()
    if stored is not None:
        change = diff(ExperimentSpec.from_dict(stored), spec)
        if change.conflicts:
            raise SpecError(
                f"{storage} already holds an experiment {spec.name!r} that differs",
                [*change.conflicts, "rename the experiment, or give another `--storage`."],
            )
        _forget_evaluations(storage, spec.name, change.stale_evaluators)
        extends = change.extends
    ledger.save_spec(storage, spec.name, spec.to_dict())
    return extends


def _forget_evaluations(storage: StoragePath, experiment: str, evaluators: Sequence[str]) -> None:
    """Let final trials run these evaluators again; their other results are kept."""
    for record in (
        ledger.read_records(storage, experiment, on_damaged=ledger.skip_damaged) if evaluators else ()
    ):
        kept = {name: digest for name, digest in record.evaluations.items() if name not in evaluators}
        for name in evaluators:
            remove_tree(layout.evaluator_dir(storage, experiment, record.trial_id, name))
        if kept != record.evaluations:
            ledger.write_record(storage, replace(record, evaluations=kept))
