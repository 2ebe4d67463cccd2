"""Texts of conditions: they are in measurement tables on disk, so they must never change."""

import pytest

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.evaluators.adversarial import AdversarialSettings
from raybench.catalog.evaluators.calibration import CalibrationSettings
from raybench.catalog.evaluators.corruption import EXTRA, CorruptionSettings
from raybench.catalog.evaluators.ood import OodSettings
from raybench.catalog.evaluators.selective import SelectiveSettings
from raybench.catalog.evaluators.shift import ShiftSettings
from raybench.core.condition import Condition
from raybench.core.registry import load_entry_point
from tests.fitted import fit_on_digits

PGD = "steps=1,rel_stepsize=0.125,restarts=1,start=image"
TEXTS = {
    "calibration": (
        CalibrationSettings(),
        {
            ("ece", "clean"),
            ("mce", "clean"),
            ("adaptive_ece", "clean"),
            ("classwise_ece", "clean"),
            ("brier", "clean"),
            ("ece", "temperature_scaled(fit=val)"),
            ("mce", "temperature_scaled(fit=val)"),
            ("adaptive_ece", "temperature_scaled(fit=val)"),
            ("classwise_ece", "temperature_scaled(fit=val)"),
            ("brier", "temperature_scaled(fit=val)"),
            ("nll", "temperature_scaled(fit=val)"),
            ("temperature", "temperature_scaled(fit=val)"),
        },
    ),
    "selective": (
        SelectiveSettings(coverages=(0.5, 0.95, 1.0)),
        {
            ("aurc", "clean"),
            ("accuracy_at_coverage", "coverage(0.5)"),
            ("accuracy_at_coverage", "coverage(0.95)"),
            ("accuracy_at_coverage", "coverage(1)"),
        },
    ),
    "ood": (
        OodSettings(near=("shapes",), far=("shapes_individuals",), scores=("msp", "knn")),
        {
            ("ood_auroc", "ood(near:shapes,score=msp)"),
            ("fpr95", "ood(near:shapes,score=msp)"),
            ("ood_auroc", "ood(near:shapes,score=knn,k=1)"),
            ("fpr95", "ood(near:shapes,score=knn,k=1)"),
            ("ood_auroc", "ood(far:shapes_individuals,score=msp)"),
            ("fpr95", "ood(far:shapes_individuals,score=msp)"),
            ("ood_auroc", "ood(far:shapes_individuals,score=knn,k=1)"),
            ("fpr95", "ood(far:shapes_individuals,score=knn,k=1)"),
            ("mean_ood_auroc", "ood(near:shapes+far:shapes_individuals,score=msp)"),
        },
    ),
    "shift": (
        ShiftSettings(),
        {
            ("accuracy", "shift(digits)"),
            ("accuracy", "matched(digits)"),
            ("accuracy_gap", "shift(digits)"),
            ("shift_accuracy", "shift(mean)"),
        },
    ),
    "corruption": (
        CorruptionSettings(corruptions=("contrast", "fog"), severities=(1, 5), num_examples=4),
        {
            ("accuracy", "contrast(severity=1,version=2)"),
            ("accuracy", "contrast(severity=5,version=2)"),
            ("accuracy", "fog(severity=1,version=2)"),
            ("accuracy", "fog(severity=5,version=2)"),
            ("corruption_accuracy", "contrast(severities=1+5,version=2)"),
            ("corruption_accuracy", "fog(severities=1+5,version=2)"),
            ("mean_corruption_error", "corruption(contrast+fog,severities=1+5,version=2)"),
            ("relative_corruption_error", "corruption(contrast+fog,severities=1+5,version=2)"),
        },
    ),
    "adversarial": (
        AdversarialSettings(
            attacks=("linf_pgd", "linf_fgsm", "deepfool"),
            linf_epsilons=("1/255", "2/255"),
            steps=1,
            random_start=False,
            num_examples=4,
        ),
        {
            ("robust_accuracy", f"linf_pgd(eps=1/255,{PGD})"),
            ("robust_accuracy", f"linf_pgd(eps=2/255,{PGD})"),
            ("mean_robust_accuracy", f"linf_pgd(eps=1/255..2/255,{PGD})"),
            ("robust_accuracy", "linf_fgsm(eps=1/255)"),
            ("robust_accuracy", "linf_fgsm(eps=2/255)"),
            ("mean_robust_accuracy", "linf_fgsm(eps=1/255..2/255)"),
            ("median_perturbation", "deepfool(norm=l2,steps=50)"),
        },
    ),
}
"""Evaluator → settings, and every (metric, condition) that it gives with them."""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit_on_digits(tmp_path_factory.mktemp("digits"))


def conditions(fitted, name, settings):
    evaluation = load_entry_point(EVALUATORS[name].entry_point)(fitted, settings)
    return {(result.metric, str(result.condition)) for result in evaluation.results}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_conditions_are_unchanged_and_parse_back(fitted, name):
    settings, expected = TEXTS[name]
    evaluation = load_entry_point(EVALUATORS[name].entry_point)(fitted, settings)
    assert {(result.metric, str(result.condition)) for result in evaluation.results} == expected
    for result in evaluation.results:
        assert Condition.parse(str(result.condition)) == result.condition


def test_many_corruptions_are_named_by_number_and_digest(fitted):
    settings = CorruptionSettings(
        corruptions=("contrast", "brightness", *EXTRA), severities=(1,), num_examples=2
    )
    assert (
        "mean_corruption_error",
        "corruption(6:35721c,severities=1,version=2)",
    ) in conditions(fitted, "corruption", settings)


def test_the_worst_case_names_all_attacks(fitted):
    settings = AdversarialSettings(
        attacks=("l2_fgsm", "l2_pgd"), l2_epsilons=("0.5",), steps=1, apgd_steps=1, num_examples=2
    )
    worst = f"attacks=l2_fgsm+l2_pgd+apgd_ce+apgd_dlr,{PGD.replace('image', 'random')},apgd_steps=1"
    assert conditions(fitted, "adversarial", settings) == {
        ("robust_accuracy", "l2_fgsm(eps=0.5)"),
        ("robust_accuracy", f"l2_pgd(eps=0.5,{PGD.replace('image', 'random')})"),
        ("robust_accuracy", f"l2_worst_case(eps=0.5,{worst})"),
        ("mean_robust_accuracy", f"l2_worst_case(eps=0.5..0.5,{worst})"),
    }
