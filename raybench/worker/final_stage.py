"""The final stage: measure the fitted run on val and test, then run every evaluator on it.

Each part is written before the next begins, so an interrupted or extended final stage computes only the
missing parts. Predictions and the classifier are stored, so an added evaluator needs no training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.tasks import protocol_of
from raybench.core.errors import RaybenchError
from raybench.core.records import (
    Measurement,
    MetricValue,
    Split,
    TrialRecord,
    TrialRequest,
    TrialStatus,
)
from raybench.core.registry import load_entry_point
from raybench.evaluation.classifier_run import ClassifierRun
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.fitted_classifier import Evaluator, FittedClassifier
from raybench.evaluation.outcomes import Evaluation, Predictions, SplitReport
from raybench.spec import ExperimentSpec
from raybench.store import artifacts, layout
from raybench.store.files import StoragePath, remove_tree
from raybench.store.measurements import write_measurements
from raybench.store.predictions import predictions_of, write_predictions
from raybench.store.result_files import missing_or_damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalResult:
    """Values of a final stage so far, including earlier attempts."""

    values: tuple[MetricValue, ...]
    evaluations: Mapping[str, str] = field(default_factory=dict)
    """Evaluator → digest of its settings, for evaluators that have measured."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Results files written so far, and their checksums."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Evaluator → why it could not measure."""

    @property
    def status(self) -> TrialStatus:
        """Status of the trial once every evaluator has run."""
        return "failed" if self.failures else "completed"

    @property
    def reason(self) -> str:
        return "; ".join(f"evaluator {name}: {why}" for name, why in self.failures.items())


class FinalStage:
    """Measures one final trial."""

    def __init__(
        self, request: TrialRequest, spec: ExperimentSpec, storage: StoragePath, context: TrialContext
    ) -> None:
        self._request = request
        self._spec = spec
        self._storage = storage
        self._context = context
        self._protocol = protocol_of(request.pair.task)
        self._trial = (storage, request.experiment, request.trial_id)

    def measured_before(self, record: TrialRecord | None) -> FinalResult | None:
        """Result of an earlier attempt whose results files are intact; None if there is none."""
        if record is None or not record.is_measured_on_test:
            return None
        if missing_or_damaged(self._storage, record) is not None:
            return None
        if artifacts.read_classifier(*self._trial) is None:
            return None
        return FinalResult(values=record.values, evaluations=record.evaluations, files=record.files)

    def measure(self, run: ProtocolRun, provenance: Mapping[str, Any]) -> FinalResult:
        """Measure the protocol's metrics on val and test; write measurements, predictions and classifier."""
        # Val is empty where all listed queries belong to test.
        has_val = self._context.dataset.num_examples("val") > 0
        splits: tuple[Literal["val", "test"], ...] = ("val", "test") if has_val else ("test",)
        reports: dict[Split, SplitReport] = {split: run.report(split) for split in splits}
        predictions = {split: r.predictions for split, r in reports.items() if r.predictions is not None}
        files: dict[str, str] = {}
        if predictions:
            identity = {"pair": self._request.pair, "seed": self._request.seed}
            files |= write_predictions(*self._trial, predictions, **identity)  # type: ignore[arg-type]
        per_query = {split: r.per_query for split, r in reports.items() if r.per_query is not None}
        if per_query:
            files |= artifacts.write_per_query(*self._trial, per_query)
        if isinstance(run, ClassifierRun):
            files |= artifacts.write_classifier(*self._trial, run.state())
        values = [
            (MetricValue(split=split, metric=metric, value=value), report.num_examples)
            for split, report in reports.items()
            for metric, value in report.metrics.items()
        ]
        files |= write_measurements(*self._trial, self._measurements(values), provenance)
        return FinalResult(values=tuple(value for value, _ in values), files=files)

    def evaluate(
        self,
        run: ProtocolRun,
        before: FinalResult,
        provenance: Mapping[str, Any],
        on_progress: Callable[[FinalResult], None],
    ) -> FinalResult:
        """Run every evaluator that has not measured yet; `on_progress` is called after each.

        If an evaluator cannot measure, its reason is recorded and the others still run.
        """
        result, failures = before, dict[str, str]()
        pending = {
            name: settings
            for name, settings in self._spec.evaluators_of(self._protocol.name).items()
            if before.evaluations.get(name) != settings.digest
        }
        if not pending or not isinstance(run, ClassifierRun):
            return before
        if (state := artifacts.read_classifier(*self._trial)) is not None:
            run.restore(state)
        predictions = {
            split: Predictions(ids=ids, targets=targets, logits=logits)
            for split, (ids, targets, logits) in predictions_of(*self._trial).items()
        }
        for name, settings in pending.items():
            folder = layout.evaluator_dir(*self._trial, name)
            evaluator: Evaluator[Any] = load_entry_point(EVALUATORS[name].entry_point)
            try:
                evaluation = evaluator(self._fitted(run, predictions, folder), settings)
            except RaybenchError as error:
                failures[name] = f"{type(error).__name__}: {error}"
                continue
            values, files = self._keep(name, evaluation, {**provenance, "settings": settings.as_dict()})
            result = FinalResult(
                values=merged(result.values, values),
                evaluations={**result.evaluations, name: settings.digest},
                files={**result.files, **files},
            )
            on_progress(result)
            remove_tree(folder)
        return replace(result, failures=failures)

    def _fitted(
        self, run: ClassifierRun, predictions: Mapping[Split, Predictions], folder: StoragePath
    ) -> FittedClassifier:
        return FittedClassifier(
            context=self._context,
            run=run,
            predictions=predictions,
            seed=self._request.seed,
            datasets=self._spec.datasets,
            storage=self._storage,
            checkpoint_dir=folder,
            is_backbone_frozen=self._protocol.uses_features,
        )

    def _keep(
        self, name: str, evaluation: Evaluation, provenance: Mapping[str, Any]
    ) -> tuple[tuple[MetricValue, ...], dict[str, str]]:
        """Write an evaluator's values and return them with the checksums of its files.

        There are none without results, as of `shift` without shifted datasets.
        """
        if not evaluation.results:
            return (), {}
        values = [
            (MetricValue(split="test", metric=r.metric, value=r.value, condition=r.condition), r.num_examples)
            for r in evaluation.results
        ]
        info = {**provenance, "evaluator": name}
        if evaluation.warnings:
            info["warnings"] = list(evaluation.warnings)
        files = artifacts.write_curves(*self._trial, name, evaluation.curves, evaluation.warnings)
        files |= write_measurements(*self._trial, self._measurements(values), info, evaluator=name)
        return tuple(value for value, _ in values), files

    def _measurements(self, values: Sequence[tuple[MetricValue, int]]) -> list[Measurement]:
        """Measurements from (value, number of examples) under the trial's identity."""
        return [
            Measurement(
                experiment=self._request.experiment,
                backbone=self._request.pair.backbone,
                task=self._request.pair.task,
                split=value.split,
                metric=value.metric,
                value=value.value,
                num_examples=num_examples,
                seed=self._request.seed,
                condition=value.condition,
            )
            for value, num_examples in values
        ]


def merged(old: Sequence[MetricValue], new: Sequence[MetricValue]) -> tuple[MetricValue, ...]:
    """Old and new values; a new one replaces the old one of the same split, metric and condition."""
    return tuple({value.key: value for value in (*old, *new)}.values())
