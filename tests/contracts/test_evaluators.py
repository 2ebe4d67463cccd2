"""What every evaluator must do. A new row is tested here without further ado; see `SETTINGS`."""

import json
import math
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.catalog.datasets import find_dataset
from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.condition import Condition
from raybench.core.registry import load_entry_point
from raybench.metrics import METRICS
from tests.fitted import fit_on_digits

SETTINGS = {
    "adversarial": {"attacks": ("linf_pgd", "deepfool"), "steps": 2, "apgd_steps": 2, "num_examples": 16},
    "corruption": {"corruptions": ("fog", "contrast"), "severities": (1, 5), "num_examples": 16},
    "ood": {"far": ("shapes",)},
}
"""Evaluator → settings that differ from its default preset, to be fast."""

pytestmark = pytest.mark.parametrize("name", EVALUATORS)


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """A linear probe of ten digits, whose dataset has a shifted test set."""
    return fit_on_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture
def measure(probe, tmp_path):
    """(name, folder of partial results, fitted classifier) → the evaluation."""

    def call(name, folder="first", fitted=None):
        info = EVALUATORS[name]
        settings = replace(info.presets[info.default_preset], **SETTINGS.get(name, {}))
        fitted = fitted or replace(probe, checkpoint_dir=tmp_path / folder)
        return load_entry_point(info.entry_point)(fitted, settings)

    return call


def test_it_measures_its_headline_and_only_metrics_of_its_row(name, measure):
    info, results = EVALUATORS[name], measure(name).results
    assert info.headline in {result.metric for result in results}
    assert {result.metric for result in results} <= set(info.metrics) <= set(METRICS)
    for result in results:
        low, high = METRICS[result.metric].bounds
        assert math.isfinite(result.value)
        assert low <= result.value <= high, result
        assert result.num_examples > 0


def test_every_value_has_a_condition_of_its_own_that_parses_back(name, measure):
    results = measure(name).results
    conditions = [(result.metric, result.condition) for result in results]
    assert len(set(conditions)) == len(conditions)
    for _, condition in conditions:
        assert Condition.parse(str(condition)) == condition


def test_the_same_classifier_gives_the_same_values(name, measure):
    assert measure(name, "first") == measure(name, "second")


def test_partial_results_give_the_same_values(name, measure, tmp_path):
    first = measure(name, "kept")
    assert measure(name, "kept") == first
    for file in sorted((tmp_path / "kept").rglob("*"))[::2] if (tmp_path / "kept").exists() else ():
        file.unlink()
    assert measure(name, "kept") == first


def random_states():
    numpy_state = np.random.get_state()[1].tolist()
    return random.getstate(), numpy_state, torch.get_rng_state().tolist()


def test_it_leaves_the_global_random_states_alone(name, measure):
    before = random_states()
    measure(name)
    assert random_states() == before


def test_it_leaves_the_classifier_alone(name, measure, probe, tmp_path):
    fitted = replace(probe, checkpoint_dir=tmp_path)
    weights = {key: value.clone() for key, value in fitted.classifier.state_dict().items()}
    measure(name, fitted=fitted)
    assert all(torch.equal(fitted.classifier.state_dict()[key], value) for key, value in weights.items())
    assert not any(p.requires_grad or p.grad is not None for p in fitted.classifier.parameters())
    assert not fitted.classifier.training


def test_an_evaluator_that_needs_predictions_only_runs_no_classifier(name, measure, probe):
    if EVALUATORS[name].needs != "predictions":
        return
    without = replace(probe, run=SimpleNamespace(class_names=probe.class_names), context=None)
    assert measure(name, fitted=without) == measure(name)


def test_its_curves_have_the_columns_that_the_report_draws(name, measure):
    curves = measure(name).curves
    assert set(curves) == {info.name for info in EVALUATORS[name].curves}
    for info in EVALUATORS[name].curves:
        columns = {info.x, info.y, *filter(None, (info.series, info.counts))}
        assert curves[info.name]
        for row in curves[info.name]:
            assert columns <= set(row)
    assert json.loads(json.dumps(curves)) == {key: list(rows) for key, rows in curves.items()}


def test_its_row_is_complete(name):
    info = EVALUATORS[name]
    assert info.section
    assert info.doc
    assert info.headline in info.metrics
    assert any(info.needs in protocol.evaluators for protocol in PROTOCOLS.values())
    digests = [settings.digest for settings in info.presets.values()]
    assert len(set(digests)) == len(digests)
    for settings in info.presets.values():
        assert isinstance(settings, info.settings)
        for dataset in settings.dataset_names:
            assert find_dataset(dataset)
