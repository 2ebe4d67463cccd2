"""One trial: (pair, hyperparameters, seed) → rows. Knows neither Ray nor MLflow.

A trial advances in steps, one per epoch, so that a scheduler can stop it between two. After every step its
record in the ledger is true: `running` until it ends, then `completed` or `failed` with the reason. What the
record speaks of (predictions, measurements) is written before it, so `completed` means that
all of it is there.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from raybench.backbones.loading import checkpoint_digest
from raybench.catalog.tasks import ProtocolInfo, parse_task
from raybench.core.errors import RaybenchError, StorageUnavailableError
from raybench.core.records import Split, TrialRecord, TrialRequest, TrialStatus
from raybench.core.registry import load_entry_point
from raybench.data.dataset import Dataset
from raybench.evaluation.contracts import ProtocolFactory, ProtocolRun, TrialContext
from raybench.evaluation.outcomes import EpochResult
from raybench.features.process_cache import cached_dataset
from raybench.features.store import FeatureStore
from raybench.metrics import METRICS
from raybench.spec import ExperimentSpec
from raybench.store import layout, ledger
from raybench.store.files import StoragePath, remove_tree
from raybench.worker.final_stage import FinalResult, FinalStage
from raybench.worker.memory import Batches, is_out_of_memory
from raybench.worker.provenance import provenance_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a scheduler needs to know after a step."""

    epoch: int
    objective: float | None
    """The objective on val after this epoch, negated where lower is better; None where there is none (the
    features stage, a failed trial)."""
    is_done: bool


class Trial:
    """Carries out one request. Create it, call `step` until `is_done`; nothing else has to be called."""

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
        self.protocol: ProtocolInfo = parse_task(request.pair.task).protocol
        self._backbone = spec.backbone(request.pair.backbone)
        self._dataset_info = spec.dataset_of(request.pair.task)
        self._spec = spec
        self._storage = storage
        self._device = device
        self._num_threads = num_threads
        self._wall_seconds = spec.budget.wall_seconds
        self._store = FeatureStore(layout.features_dir(storage))
        self._started_at = time.time()
        self._started = time.perf_counter()
        self._curve: list[dict[str, float]] = []
        # A trial that may be stopped looks no epoch ahead: that epoch would be wasted. It learns that it has
        # ended in one more step; the others know it at once.
        self._may_be_stopped = request.stage == "search" and spec.search.early_stopping != "none"
        self._following: EpochResult | None = None
        self._best: EpochResult | None = None
        self._run: ProtocolRun | None = None
        self._epoch_results: Iterator[EpochResult] | None = None
        self._context: TrialContext | None = None
        self._batches = Batches(self.protocol.name, request.hparams)
        self._earlier: TrialRecord | None = None
        """Of an attempt that got as far as measuring test; only evaluators are run then."""

    @property
    def checkpoint_dir(self) -> StoragePath:
        return layout.checkpoint_dir(self._storage, self.request.experiment, self.request.trial_id)

    def step(self) -> StepResult:
        """Advance by one epoch. A mistake of the user's or a diverged training ends the trial as failed.

        Out of memory it begins anew with half the batch, a few times, then it has failed as well.

        Raises:
            StorageUnavailableError: if the storage takes no writes; no fault of this trial.
        """
        while True:
            try:
                if self.request.stage == "features":
                    return self._extract_features()
                return self._train_one_epoch()
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
            if not is_memory or not self._begin_smaller():
                self.fail(reason)
                return StepResult(epoch=len(self._curve), objective=None, is_done=True)

    def fail(self, reason: str) -> None:
        """End the trial as failed; what a final stage has measured on test is kept."""
        record = ledger.read_record(self._storage, self.request.experiment, self.request.trial_id)
        if record is not None and any(key.startswith("test/") for key in record.metrics):
            ledger.write_record(self._storage, replace(record, status="failed", reason=reason))
        else:
            self._write(status="failed", reason=reason)

    def _begin_smaller(self) -> bool:
        """Forget the attempt that ran out of memory and halve the batches; False if they are small."""
        self._run = self._epoch_results = self._context = self._best = self._following = None
        self._curve = []
        if not self._batches.halve():
            return False
        remove_tree(self.checkpoint_dir)
        self._store = FeatureStore(self._store.root, num_halvings=self._batches.num_halvings)
        return True

    def _extract_features(self) -> StepResult:
        dataset = self._load_pinned_dataset()
        for part, splits in dataset.search_parts:
            self._store.ensure(self._backbone, part, splits, device=self._device)
        self._write(status="completed")
        return StepResult(epoch=0, objective=None, is_done=True)

    def _train_one_epoch(self) -> StepResult:
        if self._epoch_results is None:
            self._context = self._make_context()
            factory: ProtocolFactory = load_entry_point(self.protocol.entry_point)
            self._run = factory(
                self._context, self._batches.hparams, self.request.seed, self.request.max_epochs
            )
            if self.request.stage == "final" and (result := self._evaluate_only()) is not None:
                return result
            self._epoch_results = self._run.run_epochs()
            self._latest = next(self._epoch_results)
        elif self._following is not None:
            self._latest, self._following = self._following, None
        elif (rung := next(self._epoch_results, None)) is not None:
            self._latest = rung
        else:
            return self._end()
        rung = self._latest
        if rung.is_better(self._best, self.protocol.objective):
            self._best = rung
        self._curve.append({"epoch": rung.epoch, **_keyed("val", rung.metrics)})
        if self._is_out_of_time():
            return self._end()
        if not self._may_be_stopped:
            self._following = next(self._epoch_results, None)
            if self._following is None:
                return self._end()
        self._write(status="running")
        return StepResult(epoch=rung.epoch, objective=self._signed_objective(), is_done=False)

    def _end(self) -> StepResult:
        if self.request.stage == "final":
            self._measure_test()
        else:
            self._write(status="completed")
        return StepResult(epoch=self._latest.epoch, objective=self._signed_objective(), is_done=True)

    def _signed_objective(self) -> float | None:
        objective = METRICS[self.protocol.objective]
        value = self._latest.metrics.get(objective.name)
        return value if value is None or objective.direction == "max" else -value

    def _is_out_of_time(self) -> bool:
        limit = self._wall_seconds
        return limit is not None and time.perf_counter() - self._started > limit

    def _load_pinned_dataset(self) -> Dataset:
        """The dataset, once it and the backbone are known to be those that the experiment began with."""
        dataset = cached_dataset(self._dataset_info, self._storage)
        where = (self._storage, self.request.experiment)
        ledger.pin(*where, "backbone", self._backbone.name, checkpoint_digest(self._backbone))
        ledger.pin(*where, "dataset", self._dataset_info.name, dataset.fingerprint)
        return dataset

    def _make_context(self) -> TrialContext:
        dataset = self._load_pinned_dataset()
        is_final = self.request.stage == "final"
        return TrialContext(
            backbone_info=self._backbone,
            dataset=dataset.unlocked() if is_final else dataset,
            store=self._store,
            device=torch.device(self._device),
            num_threads=self._num_threads,
            checkpoint_dir=self.checkpoint_dir,
        )

    def _evaluate_only(self) -> StepResult | None:
        """Where an earlier attempt has fitted and measured: what evaluators have not measured yet."""
        record = ledger.read_record(self._storage, self.request.experiment, self.request.trial_id)
        before = self._final_stage().measured_before(record)
        if record is None or before is None:
            return None
        self._earlier = record
        self._evaluate(before)
        epoch = int(record.curve[-1]["epoch"]) if record.curve else 0
        return StepResult(epoch=epoch, objective=None, is_done=True)

    def _measure_test(self) -> None:
        if self._run is None:
            raise RuntimeError("a trial measures test after its last epoch only")
        result = self._final_stage().measure(self._run, self._provenance())
        self._write(status="running", result=result)
        self._evaluate(result)

    def _evaluate(self, before: FinalResult) -> None:
        if self._run is None:
            raise RuntimeError("a trial is evaluated after its run was prepared only")
        result = self._final_stage().evaluate(
            self._run,
            before,
            self._provenance(),
            lambda partial: self._write(status="running", result=partial),
        )
        reason = "; ".join(f"evaluator {name}: {why}" for name, why in result.failures.items())
        self._write(status="failed" if reason else "completed", reason=reason, result=result)

    def _final_stage(self) -> FinalStage:
        if self._context is None:
            raise RuntimeError("the final stage needs a context")
        return FinalStage(self.request, self._spec, self._storage, self._context)

    def _provenance(self) -> dict[str, Any]:
        dataset = cached_dataset(self._dataset_info, self._storage)
        # An earlier attempt's classifier was fitted with batches as they were asked for.
        changed = self._batches.changed if self._earlier is None else {}
        return {**provenance_of(self._backbone, dataset, self._device), **changed}

    def _write(self, *, status: TrialStatus, reason: str = "", result: FinalResult | None = None) -> None:
        request, rung, passed = self.request, self._best, time.perf_counter() - self._started
        if self._earlier is not None and result is not None:
            record = replace(
                self._earlier,
                status=status,
                reason=reason,
                metrics=dict(result.metrics),
                evaluations=dict(result.evaluations),
                wall_seconds=self._earlier.wall_seconds + passed,
            )
        else:
            record = TrialRecord(
                trial_id=request.trial_id,
                experiment=request.experiment,
                backbone=request.pair.backbone,
                task=request.pair.task,
                stage=request.stage,
                index=request.index,
                hparams=dict(request.hparams),
                seed=request.seed,
                status=status,
                reason=reason,
                metrics=dict(result.metrics) if result else _val_metrics(rung),
                chosen={**rung.chosen, **self._batches.changed} if rung else {},
                edges=dict(rung.edges) if rung else {},
                curve=tuple(self._curve),
                grid=tuple(rung.grid) if rung else (),
                provenance=self._provenance() if result else {},
                evaluations=dict(result.evaluations) if result else {},
                wall_seconds=passed,
                started_at=self._started_at,
            )
        ledger.write_record(self._storage, record)
        if status in ("completed", "failed"):
            remove_tree(self.checkpoint_dir)


def _val_metrics(rung: EpochResult | None) -> dict[str, float]:
    return _keyed("val", rung.metrics) if rung else {}


def _keyed(split: Split, metrics: Any) -> dict[str, float]:
    return {f"{split}/{name}": value for name, value in metrics.items()}
