"""Trials of a scripted protocol: records, order of writing, failures, resuming."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from raybench.catalog.evaluators.calibration import CalibrationSettings
from raybench.core.condition import CLEAN
from raybench.core.errors import DivergedError
from raybench.core.records import Pair, Task, TrialRequest
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.classifier_run import ClassifierRun
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.finetune import protocol as finetuning
from raybench.evaluation.outcomes import EpochResult, Evaluation, MetricResult, Predictions
from raybench.features import process_cache
from raybench.features.store import FeatureStore
from raybench.spec import ExperimentSpec, load_spec
from raybench.store import artifacts, ledger
from raybench.store.measurements import read_measurements
from raybench.worker import final_stage, memory, trial
from raybench.worker.trial import StepResult, Trial

PAIR = Pair(backbone="mini_resnet.random", task=Task("knn", "drawn"))
SPEC = """
name: small
backbones: [mini_resnet.random]
tasks: [knn@drawn]
datasets: {drawn: {folder: drawn}}
search: {num_trials: 2}
budget: smoke
evaluators: [calibration]
"""


@pytest.fixture
def spec(tmp_path: Path) -> ExperimentSpec:
    """Two classes of noise in a folder: 8 images each to train on, 4 to test."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name in ("even", "odd"):
            folder = tmp_path / "drawn" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    return load_spec(path)


class Scripted(ClassifierRun):
    """A protocol run with given accuracies on val; one of them may be an error to raise."""

    def __init__(self, context: TrialContext, script: Sequence[float | Exception]) -> None:
        super().__init__(context)
        self._script = script

    def run_epochs(self) -> Iterator[EpochResult]:
        self._context.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        for epoch, accuracy in enumerate(self._script, start=1):
            if isinstance(accuracy, Exception):
                raise accuracy
            yield EpochResult(
                epoch=epoch,
                metrics={"accuracy": accuracy, "nll": 1.0},
                chosen={"epoch": epoch},
                grid=({"k": epoch, "accuracy": accuracy},),
                edges={"k": "low"},
            )

    def predict(self, split: str) -> Predictions:
        examples = self._context.dataset.split(split)
        logits = np.eye(2, dtype=np.float32)[examples.targets]
        return Predictions(ids=tuple(examples.ids), targets=examples.targets, logits=logits)

    def classifier(self) -> Classifier:
        raise NotImplementedError

    def state(self) -> Mapping[str, torch.Tensor]:
        return {"weights": torch.ones(2)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        assert torch.equal(state["weights"], torch.ones(2))


@pytest.fixture
def make_trial(spec: ExperimentSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trial]:
    """`make_trial(script, stage=…, **changes of the spec)`; without a script the real protocol runs."""

    def make(script: Sequence[float | Exception] = (), stage: str = "search", **changes: object) -> Trial:
        if script:
            protocol = lambda context, hparams, seed, epochs: Scripted(context, script)  # noqa: E731
            monkeypatch.setattr(trial, "load_entry_point", lambda address: protocol)
        hparams = {} if stage == "features" else {"feature_norm": "l2"}
        request = TrialRequest(
            experiment="small", pair=PAIR, stage=stage, index=0, hparams=hparams, seed=3, max_epochs=5
        )
        changed = spec.model_copy(update=changes)
        return Trial(request, changed, tmp_path / "storage", device="cpu", num_threads=1)

    return make


@pytest.fixture
def make_finetune(spec: ExperimentSpec, tmp_path: Path) -> Callable[..., Trial]:
    """A trial of the stage that trains the whole backbone on the drawn images."""
    path = tmp_path / "small.yaml"
    path.write_text(SPEC.replace("knn@drawn", "finetune@drawn").replace("[calibration]", "[]"))
    tuned = load_spec(path)

    def make(
        stage: str,
        max_epochs: int = 1,
        early_stopping: str = "none",
        wall_seconds: float | None = None,
    ) -> Trial:
        changed = tuned.model_copy(
            update={
                "search": tuned.search.model_copy(update={"early_stopping": early_stopping}),
                "budget": replace(tuned.budget, wall_seconds=wall_seconds),
            }
        )
        request = TrialRequest(
            experiment="small",
            pair=replace(PAIR, task=Task("finetune", "drawn")),
            stage=stage,
            index=0,
            hparams={"lr": 1e-3, "weight_decay": 0.05},
            seed=3,
            max_epochs=max_epochs,
        )
        return Trial(request, changed, tmp_path / "storage", device="cpu", num_threads=1)

    return make


def run(subject: Trial) -> list[StepResult]:
    steps = [subject.step()]
    while not steps[-1].is_done:
        steps.append(subject.step())
    return steps


def record_of(subject: Trial, storage: Path):
    return ledger.read_record(storage, "small", subject.request.trial_id)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


def test_the_features_stage_computes_train_and_val_and_never_test(make_trial, storage):
    subject = make_trial(stage="features")
    assert run(subject) == [StepResult(epoch=0, objective=None, is_done=True)]
    splits = [entry.manifest["split"] for entry in FeatureStore(storage / "features").entries()]
    assert sorted(splits) == ["train", "val"]
    assert record_of(subject, storage).status == "completed"


def test_one_step_is_one_epoch_and_the_last_one_is_done(make_trial):
    steps = run(make_trial([0.2, 0.6, 0.4]))
    assert [(step.epoch, step.objective, step.is_done) for step in steps] == [
        (1, 0.2, False),
        (2, 0.6, False),
        (3, 0.4, True),
    ]


def test_the_record_says_running_until_the_trial_is_over(make_trial, storage):
    subject = make_trial([0.2, 0.6])
    subject.step()
    assert record_of(subject, storage).status == "running"
    subject.step()
    assert record_of(subject, storage).status == "completed"


def test_the_record_holds_the_best_epoch_and_the_whole_curve(make_trial, storage):
    subject = make_trial([0.2, 0.6, 0.4])
    run(subject)
    record = record_of(subject, storage)
    assert record.by_key == {"val/accuracy": 0.6, "val/nll": 1.0}
    assert record.chosen == {"epoch": 2}
    assert record.grid == ({"k": 2, "accuracy": 0.6},)
    assert record.edges == {"k": "low"}
    assert [entry.metrics["accuracy"] for entry in record.curve] == [0.2, 0.6, 0.4]
    assert record.seed == 3
    assert record.wall_seconds > 0


def test_a_search_trial_leaves_no_measurement(make_trial, storage):
    run(make_trial([0.2]))
    assert not (storage / "measurements").exists()
    assert not (storage / "predictions").exists()


def test_a_diverged_training_fails_with_its_reason(make_trial, storage):
    subject = make_trial([0.2, DivergedError("the loss is nan in step 3; lower `lr`.")])
    (step,) = run(subject)
    record = record_of(subject, storage)
    assert (step.is_done, step.objective) == (True, None)
    assert record.status == "failed"
    assert record.reason == "DivergedError: the loss is nan in step 3; lower `lr`."


class OutOfMemoryAbove:
    """A real protocol whose backbone takes more memory than there is until its passes are small enough."""

    def __init__(self, limit: int) -> None:
        self.limit, self.tried = limit, []

    def __call__(self, context, hparams, seed, epochs):
        size = hparams.get("micro_batch", 64)
        self.tried.append(size)
        if size > self.limit:
            np.empty(2**60, dtype=np.uint8)
        return finetuning.finetune(context, hparams, seed, epochs)


def finetune(trial_: Trial, monkeypatch, limit: int) -> tuple[Trial, OutOfMemoryAbove]:
    factory = OutOfMemoryAbove(limit)
    monkeypatch.setattr(memory, "_FITTING", {})
    monkeypatch.setattr(trial, "load_entry_point", lambda address: factory)
    return trial_, factory


@pytest.mark.parametrize("stage", ["search", "final"])
def test_after_running_out_of_memory_a_trial_restarts_with_half_the_micro_batch_and_records_it(
    make_finetune, storage, monkeypatch, stage
):
    subject, factory = finetune(make_finetune(stage), monkeypatch, limit=16)
    run(subject)
    record = record_of(subject, storage)
    assert factory.tried == [64, 32, 16]
    assert record.status == "completed"
    assert record.chosen["micro_batch"] == 16
    assert "batch_size" not in record.chosen
    assert record.hparams == {
        "lr": 1e-3,
        "weight_decay": 0.05,
    }  # The requested hyperparameters stay.
    if stage == "final":
        assert record.provenance["micro_batch"] == 16
        provenance = read_measurements(storage)["provenance"]
        assert all('"micro_batch": 16' in text or '"micro_batch":16' in text for text in provenance)


def test_a_trial_that_runs_out_of_memory_with_single_images_fails(make_finetune, storage, monkeypatch):
    subject, factory = finetune(make_finetune("search"), monkeypatch, limit=0)
    assert run(subject) == [StepResult(epoch=0, objective=None, is_done=True)]
    record = record_of(subject, storage)
    assert factory.tried == [64, 32, 16, 8, 4, 2, 1]
    assert record.status == "failed"
    assert record.reason.startswith("out of memory, also with smaller batches: Unable to allocate")


def test_features_that_do_not_fit_are_computed_in_smaller_batches(make_trial, storage, monkeypatch):
    from raybench.features import computation

    tried, extract = [], computation.extract_features

    def greedy(backbone, examples, views, *, batch_size, **options):
        tried.append(batch_size)
        if batch_size > 16:
            np.empty(2**60, dtype=np.uint8)
        return extract(backbone, examples, views, batch_size=batch_size, **options)

    monkeypatch.setattr(computation, "extract_features", greedy)
    monkeypatch.setattr(computation, "suitable_batch_size", lambda device, size: 64)
    subject = make_trial(stage="features")
    run(subject)
    assert tried == [64, 32, 16, 16]
    assert record_of(subject, storage).status == "completed"


def test_a_bug_is_raised_and_not_recorded_as_a_failed_trial(make_trial, storage):
    subject = make_trial([ZeroDivisionError("a bug")])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        subject.step()
    assert record_of(subject, storage) is None


def test_a_budget_of_seconds_ends_a_trial_after_its_current_epoch(make_trial, spec, storage):
    subject = make_trial([0.2, 0.6, 0.7], budget=replace(spec.budget, wall_seconds=1e-9))
    (step,) = run(subject)
    record = record_of(subject, storage)
    assert (step.epoch, step.is_done) == (1, True)
    assert record.status == "completed"
    assert record.by_key["val/accuracy"] == 0.2


def test_a_final_trial_out_of_time_is_measured_after_its_current_epoch(make_trial, spec, storage):
    subject = make_trial([0.2, 0.6], stage="final", budget=replace(spec.budget, wall_seconds=1e-9))
    run(subject)
    assert record_of(subject, storage).by_key["test/accuracy"] == 1.0


def test_the_final_stage_writes_the_record_after_the_results_it_implies(make_trial, monkeypatch):
    written = []
    for module, name in (
        (final_stage, "write_predictions"),
        (artifacts, "write_classifier"),
        (final_stage, "write_measurements"),
        (ledger, "write_record"),
    ):
        inner = getattr(module, name)

        def wrapped(*args, name=name, inner=inner, **kwargs):
            written.append(name)
            return inner(*args, **kwargs)

        monkeypatch.setattr(module, name, wrapped)
    run(make_trial([0.2], stage="final"))
    assert written == [
        "write_record",  # Running: it names no files that are about to be replaced.
        *("write_predictions", "write_classifier", "write_measurements", "write_record"),
        *("write_measurements", "write_record", "write_record"),  # The evaluator's, and the end.
    ]


def test_a_final_trial_killed_before_its_record_is_repeated_without_a_second_row(
    make_trial, storage, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "write_record", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(make_trial([0.2], stage="final"))
    subject = make_trial([0.2], stage="final")
    assert record_of(subject, storage) is None
    run(subject)
    table = read_measurements(storage)
    assert table.height == table.unique(["split", "metric", "condition"]).height


def test_the_final_stage_measures_val_and_test_with_provenance(make_trial, storage):
    subject = make_trial([0.2], stage="final")
    run(subject)
    table = read_measurements(storage)
    rows = {(row["split"], row["metric"]): row for row in table.iter_rows(named=True)}
    assert rows["test", "accuracy"]["value"] == 1.0
    assert rows["test", "accuracy"]["num_examples"] == 8
    assert rows["val", "accuracy"]["seed"] == 3
    assert ("test", "ece") in rows  # The spec's evaluator.
    provenance = record_of(subject, storage).provenance
    assert provenance["preprocessing"]["input_size"] == 32
    assert provenance["num_params"] > 0
    assert len(provenance["dataset_fingerprint"]) == 16
    assert provenance["versions"]["torch"]
    assert provenance["device"] == "cpu"


def test_record_and_measurement_table_of_a_final_trial_agree(make_trial, storage):
    subject = make_trial([0.2], stage="final")
    run(subject)
    table = read_measurements(storage)
    rows = table.with_columns(
        key=pl.concat_str(
            "split",
            "metric",
            pl.when(pl.col("condition") != "clean").then("condition"),
            separator="/",
            ignore_nulls=True,
        )
    )
    keyed = dict(rows.select("key", "value").iter_rows())
    assert record_of(subject, storage).by_key == keyed


def test_an_added_evaluator_measures_without_fitting_again(make_trial, storage):
    first = make_trial([0.2, 0.6], stage="final", evaluators={})
    run(first)
    before = record_of(first, storage)
    assert before.evaluations == {}
    second = make_trial([AssertionError("fitted again")], stage="final")
    (step,) = run(second)
    after = record_of(second, storage)
    assert step.is_done
    assert set(after.evaluations) == {"calibration"}
    assert after.by_key.items() > before.by_key.items()
    assert (after.curve, after.chosen) == (before.curve, before.chosen)


def test_an_evaluator_with_changed_settings_measures_again_and_replaces_its_values(
    make_trial, storage, monkeypatch
):
    measured_with: list[str] = []
    number = iter([0.25, 0.75])

    def evaluator(subject, settings):
        measured_with.append(settings.digest)
        return Evaluation(
            results=(MetricResult(condition=CLEAN, metric="ece", value=next(number), num_examples=8),)
        )

    with monkeypatch.context() as patched:
        patched.setattr(final_stage, "load_entry_point", lambda address: evaluator)
        run(make_trial([0.2], stage="final"))
        patched.setattr(CalibrationSettings, "digest", "other")
        subject = make_trial([AssertionError("fitted again")], stage="final")
        run(subject)
    record = record_of(subject, storage)
    assert len(measured_with) == 2
    assert record.evaluations == {"calibration": "other"}
    assert record.by_key["test/ece"] == 0.75
    table = read_measurements(storage).filter(pl.col("metric") == "ece")
    assert table["value"].to_list() == [0.75]


def test_seconds_of_both_attempts_are_added_when_evaluators_run_in_a_second_one(
    make_trial, storage, monkeypatch
):
    clock = SimpleNamespace(seconds=0.0)
    fake_time = SimpleNamespace(perf_counter=lambda: clock.seconds, time=lambda: 1e9)
    monkeypatch.setattr(trial, "time", fake_time)
    first = make_trial([0.2], stage="final", evaluators={})
    clock.seconds = 40.0
    run(first)
    assert record_of(first, storage).wall_seconds == 40.0
    clock.seconds = 1000.0
    second = make_trial(stage="final")
    clock.seconds = 1002.0
    run(second)
    assert record_of(second, storage).wall_seconds == 42.0


def test_a_resumed_training_adds_the_seconds_before_it_was_interrupted(make_finetune, storage, monkeypatch):
    clock = SimpleNamespace(seconds=0.0)
    fake_time = SimpleNamespace(perf_counter=lambda: clock.seconds, time=lambda: 1e9)
    monkeypatch.setattr(trial, "time", fake_time)
    first = make_finetune("search", max_epochs=2, early_stopping="asha")
    clock.seconds = 40.0
    assert not first.step().is_done
    assert record_of(first, storage).wall_seconds == 40.0
    clock.seconds = 1000.0
    second = make_finetune("search", max_epochs=2, early_stopping="asha")
    clock.seconds = 1002.0
    run(second)
    record = record_of(second, storage)
    assert (record.status, len(record.curve), record.wall_seconds) == ("completed", 2, 42.0)


def test_a_resumed_training_out_of_time_keeps_the_epochs_it_had_finished(make_finetune, storage):
    first = make_finetune("search", max_epochs=3, early_stopping="asha")
    first.step(), first.step()
    second = make_finetune("search", max_epochs=3, early_stopping="asha", wall_seconds=1e-9)
    run(second)
    assert [point.epoch for point in record_of(second, storage).curve] == [1, 2]


def test_an_evaluator_that_cannot_measure_records_its_reason_and_keeps_the_clean_values(
    make_trial, storage, monkeypatch
):
    def refuse(subject, settings):
        raise DivergedError("every logit is nan.")

    monkeypatch.setattr(final_stage, "load_entry_point", lambda address: refuse)
    subject = make_trial([0.2], stage="final")
    run(subject)
    record = record_of(subject, storage)
    assert record.status == "failed"
    assert record.reason == "evaluator calibration: DivergedError: every logit is nan."
    assert record.by_key["test/accuracy"] == 1.0
    monkeypatch.undo()
    monkeypatch.setattr(
        trial, "load_entry_point", lambda address: lambda context, *rest: Scripted(context, [1 / 2])
    )
    run(again := make_trial(stage="final"))
    assert record_of(again, storage).status == "completed"


@pytest.mark.parametrize("ends_as", ["completed", "failed"])
def test_checkpoints_are_kept_while_a_trial_runs_and_deleted_at_its_end(make_trial, ends_as):
    subject = make_trial([0.2, 0.3, 0.4 if ends_as == "completed" else DivergedError("nan")])
    subject.step()
    assert subject.checkpoint_dir.is_dir()
    run(subject)
    assert not subject.checkpoint_dir.exists()


def test_a_trial_of_the_real_protocol_chooses_a_packed_head_on_val(make_trial, storage):
    subject = make_trial()
    run(subject)
    record = record_of(subject, storage)
    assert record.status == "completed", record.reason
    assert set(record.chosen) == {"k", "weighting", "epoch"}
    assert len(record.grid) > 1


def test_a_dataset_is_read_once_per_process_and_stays_locked(spec, storage):
    info = spec.dataset_of(PAIR.task)
    first = process_cache.cached_dataset(info, storage)
    assert process_cache.cached_dataset(replace(info), storage) is first
    assert process_cache.cached_dataset(replace(info, val_fraction=0.4), storage) is not first
    assert not first.is_unlocked


@pytest.mark.parametrize("stage", ["search", "final"])
def test_a_trial_tries_the_values_that_the_spec_gives_a_packed_hyperparameter(make_trial, storage, stage):
    plain = make_trial(stage=stage)
    request = replace(plain.request, packed={"k": (2, 3)})
    subject = Trial(request, plain._spec, storage, device="cpu", num_threads=1)
    run(subject)
    record = record_of(subject, storage)
    assert record.status == "completed", record.reason
    assert {cell["k"] for cell in record.grid} == {2, 3}
    assert record.packed == {"k": (2, 3)}
    assert record.trial_id != plain.request.trial_id
