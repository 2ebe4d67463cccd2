"""Pairs, rows, search spaces, resources and digest of a checked spec."""

import pytest
from pydantic import ValidationError

from raybench.core.errors import UnknownNameError
from raybench.core.records import Pair, Task
from raybench.experiment.run import resource_demand
from raybench.spec import load_spec
from raybench.spec.experiment import ExperimentSpec


@pytest.fixture
def spec(write):
    return load_spec(write())


def test_pairs_go_backbone_by_backbone(spec):
    assert spec.pairs()[:2] == [
        Pair(backbone="mini_vit.supervised", task=Task("linear_probe", "digits")),
        Pair(backbone="mini_vit.supervised", task=Task("knn", "digits")),
    ]


def test_a_backbone_is_found_by_name_or_refused(spec):
    assert spec.backbone("mini_vit.supervised").family == "transformer"
    with pytest.raises(UnknownNameError, match=r"experiment 'good' has no backbone 'mini_vit.mae'"):
        spec.backbone("mini_vit.mae")


def test_the_search_space_ends_at_the_budgets_epochs(spec):
    assert (
        spec.space_of("linear_probe", spec.backbones[0].name)["epochs"].high
        == spec.max_epochs_of("linear_probe")
        == 30
    )


def test_resources_come_from_the_protocol_unless_the_spec_sets_them(write):
    assert load_spec(write()).trial_resources("linear_probe") == (1, 0.125)
    spec = load_spec(write(resources="{cpus_per_trial: 0.5, gpus_per_trial: 0}"))
    assert spec.trial_resources("linear_probe") == (0.5, 0)


def test_any_change_changes_the_digest(write):
    digests = {
        load_spec(write(**lines)).digest for lines in ({}, {"seeds": "[0]"}, {"search": "{num_trials: 5}"})
    }
    assert len(digests) == 3


def test_a_spec_cannot_be_changed(spec):
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"


SHARES = (
    "{cpus_per_trial: 1, gpus_per_trial: 0.25, knn: {cpus: 3}, features: {cpus: 8, gpus: 1}, "
    "final: {gpus: 0.5}}"
)


def test_shares_of_a_stage_come_before_those_of_a_protocol_and_of_every_trial(write):
    spec = load_spec(write(resources=SHARES))
    assert spec.trial_resources("linear_probe") == (1, 0.25)
    assert spec.trial_resources("knn") == (3, 0.25)
    assert spec.trial_resources("knn", "final") == (3, 0.5)
    assert spec.trial_resources("knn", "features") == (8, 1)
    assert ExperimentSpec.from_dict(spec.to_dict()) == spec


def test_a_spec_without_shares_is_stored_as_by_earlier_versions(write):
    assert set(load_spec(write(resources="{cpus_per_trial: 2}")).to_dict()["resources"]) == {
        "cpus_per_trial",
        "gpus_per_trial",
        "accelerators",
    }


def test_every_kind_of_trial_has_its_resources(write):
    demand = resource_demand(load_spec(write(resources=SHARES)), None)
    assert demand.per_trial == {
        "features": (8, 1),
        "linear_probe": (1, 0.25),
        "linear_probe, final stage": (1, 0.5),
        "knn": (3, 0.25),
        "knn, final stage": (3, 0.5),
    }
    assert demand.whole_gpu == ()
    assert resource_demand(load_spec(write()), None).whole_gpu == ("features",)
