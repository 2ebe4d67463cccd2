"""What every protocol must do. A new row is tested here without further ado; see `HPARAMS` and `CHANCE`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.catalog.search_spaces import defaults
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import SplitLockedError
from raybench.core.records import HparamValue
from raybench.core.registry import load_entry_point
from raybench.data.dataset import Dataset
from raybench.evaluation.classifier_run import ClassifierRun
from raybench.metrics import METRICS
from tests.fitted import BACKBONE, context_of, digits, fit_on_digits

EPOCHS = 3
HPARAMS = {"finetune": {"batch_size": 10}}
"""Hyperparameters that differ from the defaults, so that 100 images and three epochs are enough."""
CHANCE = {"accuracy": 0.1, "map": 0.1}
"""Objective → its value for guesses among ten classes; every protocol has to reach twice as much."""

pytestmark = pytest.mark.parametrize("name", PROTOCOLS)


@pytest.fixture(scope="module")
def backbone_info(tmp_path_factory):
    """A built-in network with a head for digits, for protocols that use the checkpoint's own."""
    folder = tmp_path_factory.mktemp("headed")
    probe = fit_on_digits(folder, solver="lbfgs", feature_norm="none", inverse_l2=1.0)
    info = find_backbone(BACKBONE)
    weights = probe.run.state()["weights"]
    headed = replace(info, name="headed", weights="file", kwargs={**info.kwargs, "num_classes": 10})
    state = {**load_backbone(info).model.state_dict(), "fc.weight": weights[:-1].T, "fc.bias": weights[-1]}
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "headed.safetensors")
    return replace(headed, checkpoint=str(folder / "headed.safetensors"))


@pytest.fixture
def start(backbone_info, tmp_path):
    """(name, folder, dataset, chosen) → a run with default hyperparameters, and those that a search chose."""

    def make(name: str, folder: str = "first", dataset: Dataset | None = None, **chosen: HparamValue):
        info = PROTOCOLS[name]
        context = replace(context_of(dataset or digits(), tmp_path / folder), backbone_info=backbone_info)
        epochs = min(EPOCHS, info.max_epochs)
        hparams = {**defaults(info.space_within(epochs)), **HPARAMS.get(name, {}), **chosen}
        return load_entry_point(info.entry_point)(context, hparams, 0, epochs)

    return make


def outcome(run, split="val"):
    """(Metrics, arrays) of a report, for comparison to the last bit."""
    report = run.report(split)
    if report.predictions is not None:
        arrays = [report.predictions.logits, report.predictions.targets]
    else:
        arrays = list(report.per_query.values())
    return dict(report.metrics), [np.asarray(array).tobytes() for array in arrays]


def test_it_learns(name, start):
    info, run = PROTOCOLS[name], start(name)
    results = list(run.run_epochs())
    assert len(results) == min(EPOCHS, info.max_epochs)
    value = run.report("val").metrics[info.objective]
    chance = CHANCE[info.objective]
    assert value > 2 * chance if METRICS[info.objective].direction == "max" else value < chance / 2


def test_it_reports_the_metrics_of_its_row_within_their_bounds(name, start):
    info, run = PROTOCOLS[name], start(name)
    results = list(run.run_epochs())
    report = run.report("val")
    for metrics in (report.metrics, *(result.metrics for result in results)):
        assert set(info.metrics) <= set(metrics)
        for metric, value in metrics.items():
            low, high = METRICS[metric].bounds
            assert low <= value <= high, metric
    assert info.objective in info.metrics
    assert 0 < report.num_examples <= digits().num_examples("val")


def test_it_reports_its_best_epoch(name, start):
    run, best = start(name), None
    for result in run.run_epochs():
        best = result if result.is_better(best, PROTOCOLS[name].objective) else best
    assert run.report("val").metrics == best.metrics


def test_the_same_seed_gives_the_same_bits(name, start):
    first, again = start(name, "first"), start(name, "again")
    assert list(first.run_epochs()) == list(again.run_epochs())
    assert outcome(first) == outcome(again)


def test_an_interrupted_run_ends_with_the_same_bits(name, start):
    whole = start(name, "whole")
    results = list(whole.run_epochs())
    interrupted = iter(start(name, "torn").run_epochs())
    next(interrupted)
    resumed = start(name, "torn")
    assert list(resumed.run_epochs()) == results
    assert outcome(resumed) == outcome(whole)


def random_states():
    numpy_state = np.random.get_state()[1].tolist()
    return numpy_state, torch.get_rng_state().tolist()


def test_it_leaves_the_global_random_states_alone(name, start):
    before = random_states()
    run = start(name)
    list(run.run_epochs())
    outcome(run)
    assert random_states() == before


def test_during_a_search_it_cannot_read_test(name, start):
    run = start(name)
    list(run.run_epochs())
    with pytest.raises(SplitLockedError, match="the test split of 'digits_10shot' is locked"):
        run.report("test")


def with_test(dataset: Dataset, positions) -> Dataset:
    splits = {name: dataset.split(name) for name in ("train", "val")}
    splits["test"] = dataset.split("test").take(np.asarray(positions))
    return Dataset(dataset.info, dataset.class_names, splits, dataset.hygiene).unlocked()


def test_in_the_final_stage_it_chooses_nothing_on_test(name, start):
    """Two test splits without a common image: epochs, weights and val are the same to the last bit."""
    dataset = digits(is_unlocked=True)
    runs = [start(name, str(first), with_test(dataset, range(first, first + 40))) for first in (0, 100)]
    one, other = ([list(run.run_epochs()), outcome(run)] for run in runs)
    assert one == other
    if isinstance(runs[0], ClassifierRun):
        states = [{key: value.tolist() for key, value in run.state().items()} for run in runs]
        assert states[0] == states[1]
    assert outcome(runs[0], "test") != outcome(runs[1], "test")


def test_what_evaluators_may_measure_is_a_restorable_classifier(name, start):
    """Restored from its state, a run predicts the same bits; its classifier gives the same from pixels."""
    info, dataset = PROTOCOLS[name], digits(is_unlocked=True)
    run = start(name, dataset=dataset)
    assert isinstance(run, ClassifierRun) == bool(info.evaluators)
    if not info.evaluators:
        return
    best = max(run.run_epochs(), key=lambda result: result.metrics[info.objective])
    run = start(name, "final", dataset, **best.chosen)
    list(run.run_epochs())
    predictions = run.report("test").predictions
    assert predictions.logits.shape == (len(predictions.ids), len(run.class_names))
    restored = start(name, "restored", dataset, **best.chosen)
    restored.restore(run.state())
    assert restored.class_names == run.class_names
    assert np.array_equal(restored.report("test").predictions.logits, predictions.logits)
    classifier = restored.classifier()
    assert not classifier.training
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    _, logits = classifier.features_and_logits(dataset.test, 64, device=torch.device("cpu"), num_threads=1)
    np.testing.assert_allclose(logits, predictions.logits, rtol=1e-3, atol=1e-3)
