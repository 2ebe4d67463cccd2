"""Evaluator rows name existing metrics, and their settings refuse impossible values."""

from typing import get_args

import pytest

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.evaluators.adversarial import NORMS, AdversarialSettings, AttackName
from raybench.catalog.evaluators.ood import OodSettings
from raybench.catalog.evaluators.selective import SelectiveSettings
from raybench.core.records import digest_of
from raybench.metrics import METRICS


@pytest.mark.parametrize("name", EVALUATORS)
def test_an_evaluators_metrics_are_registered(name):
    assert set(EVALUATORS[name].metrics) <= set(METRICS)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AdversarialSettings(apgd_steps=-1), "apgd_steps must be at least 0, got -1"),
        (lambda: OodSettings(scores=()), "at least one score"),
        (lambda: OodSettings(scores=("msp", "msp")), "every score once"),
        (lambda: OodSettings(near=("digits",), far=("digits",)), "dataset 'digits' is named twice"),
        (lambda: SelectiveSettings(coverages=(1.5,)), r"must lie in \(0, 1\]"),
        (lambda: SelectiveSettings(coverages=(0.0,)), r"must lie in \(0, 1\]"),
        (lambda: SelectiveSettings(coverages=(0.5, 0.5)), "every coverage once"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_radii_are_those_of_the_norm_of_the_attack():
    settings = AdversarialSettings(linf_epsilons=("1/255",), l2_epsilons=("0.5",))
    assert set(NORMS) == set(get_args(AttackName))
    for attack, norm in NORMS.items():
        assert settings.radii(attack) == ((("1/255", 1 / 255),) if norm == "linf" else (("0.5", 0.5),))


def test_presets_end_with_apgd_except_the_quick_one():
    steps = {name: preset.apgd_steps for name, preset in EVALUATORS["adversarial"].presets.items()}
    assert steps == {"paper": 100, "quick": 0, "thorough": 100}


def test_settings_without_apgd_keep_the_digest_that_finished_experiments_hold():
    settings = AdversarialSettings()
    before = {name: value for name, value in vars(settings).items() if name != "apgd_steps"}
    assert settings.digest == digest_of(["AdversarialSettings", before])
    assert AdversarialSettings(apgd_steps=100).digest != settings.digest
