"""The final stage's measurements: the fitted run on val and test, then every evaluator on it.

Each part is written before the next begins, so an interrupted or extended final stage computes only what is
missing: predictions and the classifier itself are kept, and an evaluator that is added to a finished
experiment trains nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.tasks import parse_task
from raybench.core.errors import RaybenchError
from raybench.core.records import Measurement, Split, TrialRecord, TrialRequest
from raybench.core.registry import load_entry_point
from raybench.evaluation.contracts import ClassifierRun, ProtocolRun, TrialContext
from raybench.evaluation.outcomes import Evaluation, Predictions, SplitReport
from raybench.evaluation.subject import Evaluator, Subject
from raybench.spec import ExperimentSpec
from raybench.store import artifacts, layout
from raybench.store.files import StoragePath, remove_tree
from raybench.store.layout import measurements_file
from raybench.store.measurements import write_measurements
from raybench.store.predictions import predictions_of, write_predictions

CLEAN = "clean"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalResult:
    """What the final stage measured, this time and before."""

    metrics: Mapping[str, float]
    """`split/metric` or `split/metric/condition` → value."""
    evaluations: Mapping[str, str]
    """Evaluator → digest of its settings, for those that are done."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Evaluator → why it could not measure."""


class FinalStage:
    """Measures one final trial."""

    def __init__(
        self, request: TrialRequest, spec: ExperimentSpec, storage: StoragePath, context: TrialContext
    ) -> None:
        self._request = request
        self._spec = spec
        self._storage = storage
        self._context = context
        self._protocol = parse_task(request.pair.task).protocol
        self._where = (storage, request.experiment, request.trial_id)

    def measured_before(self, record: TrialRecord | None) -> FinalResult | None:
        """What an earlier attempt measured, if its fit is complete: then nothing is fitted again."""
        if record is None or not any(key.startswith("test/") for key in record.metrics):
            return None
        if not measurements_file(*self._where).is_file():
            return None
        if artifacts.read_classifier(*self._where) is None:
            return None
        return FinalResult(metrics=record.metrics, evaluations=record.evaluations)

    def measure(self, run: ProtocolRun, provenance: Mapping[str, Any]) -> FinalResult:
        """Metrics of val and test. The only place where the test split becomes numbers of the protocol."""
        # Where all listed queries are test's, val has none: nothing was chosen.
        has_val = self._context.dataset.num_examples("val") > 0
        splits: tuple[Literal["val", "test"], ...] = ("val", "test") if has_val else ("test",)
        reports: dict[Split, SplitReport] = {split: run.report(split) for split in splits}
        predictions = {split: r.predictions for split, r in reports.items() if r.predictions is not None}
        if predictions:
            write_predictions(*self._where, predictions, pair=self._request.pair, seed=self._request.seed)
        per_query = {split: r.per_query for split, r in reports.items() if r.per_query is not None}
        if per_query:
            artifacts.write_per_query(*self._where, per_query)
        if isinstance(run, ClassifierRun):
            artifacts.write_classifier(*self._where, run.state())
        measurements = [
            self._measurement(split, metric, value, report.num_examples, CLEAN)
            for split, report in reports.items()
            for metric, value in report.metrics.items()
        ]
        write_measurements(*self._where, measurements, provenance)
        return FinalResult(metrics=_keyed(measurements), evaluations={})

    def evaluate(
        self,
        run: ProtocolRun,
        before: FinalResult,
        provenance: Mapping[str, Any],
        on_progress: Callable[[FinalResult], None],
    ) -> FinalResult:
        """Run every evaluator that has not measured yet; `on_progress` is called after each.

        One that cannot measure leaves its reason and does not keep the others from theirs.
        """
        metrics, done = dict(before.metrics), dict(before.evaluations)
        failures: dict[str, str] = {}
        wanted = self._spec.evaluators_of(self._protocol.name)
        open_ones = {name: s for name, s in wanted.items() if done.get(name) != s.digest}
        if not open_ones or not isinstance(run, ClassifierRun):
            return before
        if (state := artifacts.read_classifier(*self._where)) is not None:
            run.restore(state)
        predictions = {
            split: Predictions(ids=ids, targets=targets, logits=logits)
            for split, (ids, targets, logits) in predictions_of(*self._where).items()
        }
        for name, settings in open_ones.items():
            folder = layout.evaluator_dir(*self._where, name)
            subject = self._subject(run, predictions, folder)
            try:
                evaluator: Evaluator[Any] = load_entry_point(EVALUATORS[name].entry_point)
                evaluation = evaluator(subject, settings)
            except RaybenchError as error:
                failures[name] = f"{type(error).__name__}: {error}"
                continue
            metrics |= self._keep(name, evaluation, provenance)
            done[name] = settings.digest
            on_progress(FinalResult(metrics=metrics, evaluations=done))
            remove_tree(folder)
        return FinalResult(metrics=metrics, evaluations=done, failures=failures)

    def _subject(
        self, run: ClassifierRun, predictions: Mapping[Split, Predictions], folder: StoragePath
    ) -> Subject:
        return Subject(
            self._context,
            run,
            predictions,
            seed=self._request.seed,
            datasets=self._spec.datasets,
            storage=self._storage,
            checkpoint_dir=folder,
            is_frozen_backbone=self._protocol.uses_features,
        )

    def _keep(self, name: str, evaluation: Evaluation, provenance: Mapping[str, Any]) -> dict[str, float]:
        if not evaluation.findings:  # As where a dataset has no shifted test sets.
            return {}
        measurements = [
            self._measurement("test", f.metric, f.value, f.num_examples, f.condition)
            for f in evaluation.findings
        ]
        info = {**provenance, "evaluator": name, "settings": self._settings(name)}
        if evaluation.warnings:
            info["warnings"] = list(evaluation.warnings)
        artifacts.write_curves(*self._where, name, evaluation.curves, evaluation.warnings)
        write_measurements(*self._where, measurements, info, evaluator=name)
        return _keyed(measurements)

    def _settings(self, name: str) -> dict[str, Any]:
        return self._spec.evaluators_of(self._protocol.name)[name].as_dict()

    def _measurement(
        self, split: Split, metric: str, value: float, num_examples: int, condition: str
    ) -> Measurement:
        return Measurement(
            experiment=self._request.experiment,
            backbone=self._request.pair.backbone,
            task=self._request.pair.task,
            split=split,
            metric=metric,
            value=value,
            num_examples=num_examples,
            seed=self._request.seed,
            condition=condition,
        )


def _keyed(measurements: list[Measurement]) -> dict[str, float]:
    return {
        f"{m.split}/{m.metric}" if m.condition == CLEAN else f"{m.split}/{m.metric}/{m.condition}": m.value
        for m in measurements
    }
