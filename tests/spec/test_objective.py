"""`search.objective`: which metric on val a search optimises."""

import re

import pytest

from raybench.catalog.tasks import PROTOCOLS
from raybench.experiment.reconcile import study_plan
from raybench.spec import ExperimentSpec, diff, load_spec


@pytest.mark.parametrize("metric", PROTOCOLS["knn"].metrics)
def test_every_metric_of_the_protocols_may_be_optimised(write, metric):
    spec = load_spec(write(search=f"{{num_trials: 2, objective: {metric}}}"))
    assert {study_plan(spec, pair).objective for pair in spec.pairs()} == {metric}
    assert ExperimentSpec.from_dict(spec.to_dict()) == spec


def test_without_a_choice_each_protocol_optimises_its_own_metric(write):
    spec = load_spec(write(tasks="[linear_probe@digits, retrieval@digits]"))
    objectives = {pair.task.protocol: study_plan(spec, pair).objective for pair in spec.pairs()}
    assert objectives == {"linear_probe": "accuracy", "retrieval": "map"}


def test_a_spec_without_the_key_keeps_its_stored_form(write):
    """Digests of stored specs, and so MLflow runs, do not change."""
    assert set(load_spec(write()).to_dict()["search"]) == {"sampler", "num_trials", "early_stopping", "seed"}


@pytest.mark.parametrize(
    ("tasks", "objective", "message"),
    [
        ("[knn@digits]", "acuracy", "knn does not measure 'acuracy' on val, .*; did you mean 'accuracy'?"),
        ("[knn@digits]", "ece", "knn does not measure 'ece' on val, .* It measures accuracy, top5_accuracy,"),
        ("[knn@digits]", "mean_ood_auroc", "knn does not measure 'mean_ood_auroc' on val"),
        ("[knn@digits]", "map", "knn does not measure 'map' on val"),
        ("[knn@digits, retrieval@digits]", "nll", "retrieval does not measure 'nll' on val"),
        ("[retrieval@digits]", "queries_without_positives", "retrieval does not measure"),
        ("[knn@digits]", "3", "`search.objective` must be text"),
        ("[knn@digits]", "''", "knn does not measure '' on val"),
    ],
)
def test_a_metric_that_is_not_measured_on_val_is_refused(problems, tasks, objective, message):
    found = problems(tasks=tasks, search=f"{{num_trials: 2, objective: {objective}}}")
    assert len(found) == 1
    assert re.search(f"^line 4: {message}", found[0])


def test_another_objective_conflicts_with_what_is_measured(write):
    old = load_spec(write())
    new = load_spec(write(search="{sampler: qmc, num_trials: 4, objective: nll}"))
    assert diff(old, new).conflicts == [
        "search.objective of linear_probe: accuracy → nll",
        "search.objective of knn: accuracy → nll",
    ]


def test_naming_the_protocols_own_metric_is_no_conflict(write):
    old = load_spec(write())
    new = load_spec(write(search="{sampler: qmc, num_trials: 4, objective: accuracy}"))
    assert diff(old, new).conflicts == []
