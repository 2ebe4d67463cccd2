"""Run one trial: fit a pair with given hyperparameters and seed, and write its record. No Ray, no MLflow.

A trial advances one epoch per step, so that a scheduler can stop it in between. After every step the ledger
has its current record: `running` until the end, then `completed` or `failed` with the reason. Predictions and
measurements are written before the record, so a `completed` record means that all of them exist.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from raybench.backbones.loading import checkpoint_digest
from raybench.catalog.tasks import protocol_of
from raybench.core.errors import RaybenchError, StorageUnavailableError
from raybench.core.records import Hparams, TrialRecord, TrialRequest, TrialStatus
from raybench.core.registry import load_entry_point
from raybench.data.dataset import Dataset
from raybench.evaluation.contracts import ProtocolFactory, ProtocolRun, TrialContext
from raybench.features.process_cache import cached_dataset
from raybench.features.shards import Share
from raybench.features.store import FeatureStore
from raybench.metrics import METRICS
from raybench.spec import ExperimentSpec
from raybench.store import layout, ledger
from raybench.store.files import StoragePath, file_sizes, remove_tree
from raybench.worker.attempt import Attempt
from raybench.worker.final_stage import FinalResult, FinalStage
from raybench.worker.memory import BatchReduction, is_out_of_memory
from raybench.worker.provenance import provenance_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """Result of a step for the scheduler."""

    epoch: int
    objective: float | None
    """The objective on val after this epoch, negated where lower is better; None in the features stage and
    for a failed trial."""
    is_done: bool


class Trial:
    """One request being run: call `step` until `is_done`."""

    def __init__(
        self,
        request: TrialRequest,
        spec: ExperimentSpec,
        storage: StoragePath,
        *,
        device: str,
        num_threads: int,
    ) -> None:
        torch.set_num_threads(num_threads)
        self.request = request
        self.protocol = protocol_of(request.pair.task)
        self._backbone = spec.backbone(request.pair.backbone)
        self._dataset_info = spec.dataset_of(request.pair.task)
        self._spec = spec
        self._storage = storage
        self._device = device
        self._num_threads = num_threads
        self._started_at = time.time()
        self._started = time.perf_counter()
        self._batches = BatchReduction(
            self.protocol.minibatch, request.hparams, self.protocol.accumulates, request.pair.backbone
        )
        self._attempt: Attempt | None = None
        self._resumed: TrialRecord | None = None
        """Record of the interrupted training that this one resumes."""
        self.notes: list[str] = []
        """Sentences for the user, such as that damaged features were computed again."""

    @property
    def checkpoint_dir(self) -> StoragePath:
        return layout.checkpoint_dir(self._storage, self.request.experiment, self.request.trial_id)

    def step(self) -> StepResult:
        """Advance by one epoch. A RaybenchError, such as a diverged training, ends the trial as failed.

        After running out of memory the trial restarts with half the batch, at most three times, or with half
        the micro-batch where its protocol accumulates gradients; then it fails.

        Raises:
            StorageUnavailableError: if the storage cannot be written; the trial does not fail because of it.
        """
        while True:
            try:
                return self._extract_features() if self.request.stage == "features" else self._train_epoch()
            except StorageUnavailableError:
                raise
            except RaybenchError as error:
                reason, is_memory = f"{type(error).__name__}: {error}", False
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                first_line = str(error).partition("\n")[0] or type(error).__name__
                reason, is_memory = f"out of memory, also with smaller batches: {first_line}", True
            # Outside the handlers: an exception that is being handled keeps its frames' tensors alive.
            num_epochs = len(self._attempt.curve) if self._attempt else 0
            if not is_memory or not self._restart_smaller():
                self.fail(reason)
                return StepResult(epoch=num_epochs, objective=None, is_done=True)

    def fail(self, reason: str) -> None:
        """End the trial as failed; values already measured on test are kept."""
        record = ledger.read_record(self._storage, self.request.experiment, self.request.trial_id)
        if record is not None and record.is_measured_on_test:
            ledger.write_record(self._storage, replace(record, status="failed", reason=reason))
        else:
            self._write(status="failed", reason=reason)

    def _restart_smaller(self) -> bool:
        """Drop the attempt and halve the batches; return False if they were halved as often as allowed."""
        self._attempt = None
        if not self._batches.halve():
            return False
        remove_tree(self.checkpoint_dir)
        return True

    def _extract_features(self) -> StepResult:
        dataset = self._load_pinned_dataset()
        hparams = self.request.hparams
        share = Share(int(hparams.get("shard", 0)), int(hparams.get("num_shards", 1)))
        for part, splits in dataset.search_parts:
            self._feature_store().ensure(self._backbone, part, splits, device=self._device, share=share)
        self._write(status="completed")
        return StepResult(epoch=0, objective=None, is_done=True)

    def _train_epoch(self) -> StepResult:
        if self._attempt is None:
            resumed = self._resumable_record()
            if not self._batches.num_halvings:
                self._batches.recall(resumed.chosen if resumed else {})
            context = self._make_context()
            factory: ProtocolFactory = load_entry_point(self.protocol.entry_point)
            run = factory(context, self._batches.hparams, self.request.seed, self.request.max_epochs)
            if self.request.stage == "final" and (result := self._evaluate_earlier_fit(run, context)):
                return result
            self._resumed = resumed
            self._attempt = Attempt(run=run, context=context, objective=context.objective)
        attempt = self._attempt
        # `is_over` trains one epoch ahead, wasted if early stopping ends the trial now. A trial that may be
        # stopped early instead takes one more step to find that no epoch is left.
        may_be_stopped = self.request.stage == "search" and self._spec.search.early_stopping != "none"
        is_over = not attempt.train_epoch() or self._is_out_of_time(attempt)
        self._batches.remember()
        if is_over or (not may_be_stopped and attempt.is_over()):
            return self._end(attempt)
        self._write(status="running")
        return self._result(attempt, is_done=False)

    def _end(self, attempt: Attempt) -> StepResult:
        if self.request.stage == "final":
            stage, provenance = self._final_stage(attempt.context), self._provenance(self._batches.reduced)
            self._write(status="running")  # Its record must not name files that are about to be replaced.
            measured = stage.measure(attempt.run, provenance)
            self._write(status="running", result=measured)
            evaluated = stage.evaluate(
                attempt.run,
                measured,
                provenance,
                lambda partial: self._write(status="running", result=partial),
            )
            self._write(status=evaluated.status, reason=evaluated.reason, result=evaluated)
        else:
            self._write(status="completed")
        return self._result(attempt, is_done=True)

    def _evaluate_earlier_fit(self, run: ProtocolRun, context: TrialContext) -> StepResult | None:
        """Run only the evaluators that are missing, if an earlier attempt has measured; else return None."""
        record = ledger.read_record(self._storage, self.request.experiment, self.request.trial_id)
        stage = self._final_stage(context)
        measured = stage.measured_before(record)
        if record is None or measured is None:
            return None

        def write(status: TrialStatus, reason: str, result: FinalResult) -> None:
            changed = replace(
                record,
                status=status,
                reason=reason,
                values=result.values,
                evaluations=dict(result.evaluations),
                files=dict(result.files),
                wall_seconds=record.wall_seconds + self._seconds(),
            )
            self._keep(changed)

        # No reduced batches: how the classifier was fitted is in the earlier record.
        provenance = self._provenance({})
        evaluated = stage.evaluate(run, measured, provenance, lambda partial: write("running", "", partial))
        write(evaluated.status, evaluated.reason, evaluated)
        epoch = record.curve[-1].epoch if record.curve else 0
        return StepResult(epoch=epoch, objective=None, is_done=True)

    def _result(self, attempt: Attempt, *, is_done: bool) -> StepResult:
        if attempt.latest is None:
            raise RuntimeError("a step has no result before its first epoch")
        objective = METRICS[attempt.objective]
        value = attempt.latest.metrics.get(objective.name)
        signed = value if value is None or objective.direction == "max" else -value
        return StepResult(epoch=attempt.latest.epoch, objective=signed, is_done=is_done)

    def _resumable_record(self) -> TrialRecord | None:
        """Record of an interrupted training whose checkpoint is still there."""
        if not file_sizes(self.checkpoint_dir):
            return None
        return ledger.read_record(self._storage, self.request.experiment, self.request.trial_id)

    def _is_out_of_time(self, attempt: Attempt) -> bool:
        """Whether the budget's seconds are used up; not before a resumed training has replayed its epochs."""
        limit = self._spec.budget.wall_seconds
        num_resumed = len(self._resumed.curve) if self._resumed else 0
        return limit is not None and len(attempt.curve) >= num_resumed and self._seconds() > limit

    def _seconds(self) -> float:
        """Seconds of this training, including those before it was resumed."""
        before = self._resumed.wall_seconds if self._resumed else 0.0
        return before + time.perf_counter() - self._started

    def _load_pinned_dataset(self) -> Dataset:
        """The dataset, after checking that it and the backbone are unchanged since the experiment began."""
        dataset = cached_dataset(self._dataset_info, self._storage)
        where = (self._storage, self.request.experiment)
        ledger.pin(*where, "backbone", self._backbone.name, checkpoint_digest(self._backbone))
        ledger.pin(*where, "dataset", self._dataset_info.name, dataset.fingerprint)
        return dataset

    def _feature_store(self) -> FeatureStore:
        return FeatureStore(
            layout.features_dir(self._storage),
            settings=self._spec.features,
            num_halvings=self._batches.num_halvings,
            images_per_shard=self._spec.resources.images_per_shard,
            on_damage=self.notes.append,
        )

    def _make_context(self) -> TrialContext:
        dataset = self._load_pinned_dataset()
        is_final = self.request.stage == "final"
        return TrialContext(
            backbone_info=self._backbone,
            dataset=dataset.unlocked() if is_final else dataset,
            store=self._feature_store(),
            device=torch.device(self._device),
            num_threads=self._num_threads,
            packed=self.request.packed,
            checkpoint_dir=self.checkpoint_dir,
            objective=self._spec.objective_of(self.protocol.name),
        )

    def _final_stage(self, context: TrialContext) -> FinalStage:
        return FinalStage(self.request, self._spec, self._storage, context)

    def _provenance(self, reduced: Hparams) -> dict[str, Any]:
        dataset = cached_dataset(self._dataset_info, self._storage)
        features = self._spec.features if self.protocol.uses_features else None
        return {**provenance_of(self._backbone, dataset, self._device, features), **reduced}

    def _write(self, *, status: TrialStatus, reason: str = "", result: FinalResult | None = None) -> None:
        attempt = self._attempt
        best = attempt.best if attempt else None
        record = replace(
            TrialRecord.of(self.request, status, reason),
            values=result.values if result else best.values if best else (),
            chosen={**best.chosen, **self._batches.reduced} if best else {},
            edges=dict(best.edges) if best else {},
            curve=tuple(attempt.curve) if attempt else (),
            grid=tuple(best.grid) if best else (),
            provenance=self._provenance(self._batches.reduced) if result else {},
            evaluations=dict(result.evaluations) if result else {},
            files=dict(result.files) if result else {},
            wall_seconds=self._seconds(),
            started_at=self._started_at,
        )
        self._keep(record)

    def _keep(self, record: TrialRecord) -> None:
        ledger.write_record(self._storage, record)
        if record.status in ("completed", "failed"):
            remove_tree(self.checkpoint_dir)
