"""Pairs, rows, search spaces, resources and digest of a checked spec."""

import pytest
from pydantic import ValidationError

from raybench.core.errors import UnknownNameError
from raybench.core.records import Pair, Task
from raybench.spec import load_spec


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
