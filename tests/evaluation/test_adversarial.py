"""The evaluator on a backbone that ships with raybench: checks, shortcuts, interruptions."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.catalog.evaluators.adversarial import AdversarialSettings
from raybench.data.batches import batches
from raybench.evaluation import attacked_subset as module
from raybench.evaluation.adversarial import adversarial
from raybench.evaluation.attacked_subset import AttackedSubset
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.outcomes import Predictions
from raybench.evaluation.subset import hashed_subset
from raybench.perturbations.apgd import apgd
from raybench.perturbations.attacks import fgsm, pgd
from tests.fitted import BACKBONE, digits, fitted_as

SETTINGS = AdversarialSettings(
    linf_epsilons=("0.5/255", "2/255", "8/255"), steps=4, rel_stepsize=0.5, num_examples=24
)


@pytest.fixture(scope="module")
def ridge():
    """A ridge classifier on frozen features of digits, its dataset and its predictions."""
    dataset = digits(is_unlocked=True)
    backbone = load_backbone(find_backbone(BACKBONE)).freeze()

    def features(split):
        stream = batches(dataset.split(split), backbone.preprocessing, 64)
        with torch.no_grad():
            return torch.cat([backbone(pixels) for pixels in stream])

    train, one_hot = features("train"), torch.eye(10)[torch.tensor(dataset.train.targets)]
    gram = train.T @ train + 1e-2 * torch.eye(train.shape[1])
    head = torch.nn.Linear(train.shape[1], 10, bias=False)
    head.weight = torch.nn.Parameter((torch.linalg.solve(gram, train.T @ one_hot) * 5).T)
    classifier = Classifier(backbone, head).freeze()
    test = dataset.test
    predictions = Predictions(
        ids=tuple(test.ids), targets=test.targets, logits=classifier.head(features("test")).numpy()
    )
    return classifier, dataset, predictions


@pytest.fixture
def fitted(ridge, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BATCH_SIZE", 8)
    classifier, dataset, predictions = ridge
    return fitted_as(classifier, dataset, tmp_path, predictions={"test": predictions})


def with_head(fitted, forward):
    """The fitted classifier with another function of its features as head."""

    class Head(torch.nn.Module):
        def forward(self, features):
            return forward(features)

    changed = Classifier(fitted.classifier.backbone, Head()).freeze()
    return replace(fitted, run=SimpleNamespace(classifier=lambda: changed))


def values(evaluation, metric):
    return {str(r.condition): r.value for r in evaluation.results if r.metric == metric}


def test_accuracy_falls_with_the_radius_and_starts_below_the_clean_one(fitted):
    found = adversarial(fitted, SETTINGS)
    robust = list(values(found, "robust_accuracy").values())
    predictions = fitted.predictions["test"]
    rows = hashed_subset(predictions.ids, SETTINGS.num_examples)
    clean = np.mean(predictions.logits[rows].argmax(axis=1) == predictions.targets[rows])
    assert clean >= robust[0] >= robust[1] >= robust[2]
    assert robust[0] > robust[2]
    (mean,) = values(found, "mean_robust_accuracy").values()
    assert mean == pytest.approx(np.mean(robust))
    assert {r.num_examples for r in found.results} == {24}
    assert [row["robust_accuracy"] for row in found.curves["robust_accuracy"]] == robust


def test_conditions_say_every_setting(fitted):
    assert list(values(adversarial(fitted, SETTINGS), "robust_accuracy"))[1] == (
        "linf_pgd(eps=2/255,steps=4,rel_stepsize=0.5,restarts=1,start=random)"
    )


def pgd_attack(fitted, settings):
    return pgd(fitted.classifier, "linf", steps=settings.steps, rel_stepsize=settings.rel_stepsize)


def test_attacking_broken_images_again_would_change_nothing(fitted):
    subset = AttackedSubset(fitted, SETTINGS.num_examples, "any")
    attack, radii = pgd_attack(fitted, SETTINGS), SETTINGS.radii("linf_pgd")
    broken_at = subset.broken_at("linf_pgd", attack, radii)
    survives = subset.is_correct.copy()
    for i, (_, epsilon) in enumerate(radii):
        survives &= ~subset.is_broken(attack, epsilon, subset.is_correct)
        assert np.array_equal(survives, broken_at > i)


def test_an_interrupted_attack_goes_on_where_it_stopped(fitted, monkeypatch):
    whole = adversarial(fitted, SETTINGS)
    (fitted.checkpoint_dir / "linf_pgd.json").unlink()
    inner, calls = AttackedSubset._attack, []

    def killed(self, attack, rows, epsilon):
        calls.append(len(rows))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return inner(self, attack, rows, epsilon)

    with monkeypatch.context() as patched:
        patched.setattr(AttackedSubset, "_attack", killed)
        with pytest.raises(KeyboardInterrupt):
            adversarial(fitted, SETTINGS)
    assert max(json.loads((fitted.checkpoint_dir / "linf_pgd.json").read_text())["tried"]) >= 0
    assert adversarial(fitted, SETTINGS) == whole


def test_progress_of_other_settings_is_not_taken_for_this_ones(fitted):
    adversarial(fitted, SETTINGS)
    weak = AdversarialSettings(linf_epsilons=("1e-9",), steps=1, num_examples=24)
    (robust,) = values(adversarial(fitted, weak), "robust_accuracy").values()
    assert robust > 0.5


WITH_APGD = replace(SETTINGS, apgd_steps=10)


def test_apgd_attacks_what_survives_and_the_mean_is_that_of_the_worst_case(fitted):
    without, evaluation = adversarial(fitted, SETTINGS), adversarial(fitted, WITH_APGD)
    upper = list(values(without, "robust_accuracy").values())
    robust = values(evaluation, "robust_accuracy")
    assert [value for text, value in robust.items() if text.startswith("linf_pgd")] == upper
    worst = {text: value for text, value in robust.items() if text.startswith("linf_worst_case")}
    assert next(iter(worst)) == (
        "linf_worst_case(eps=0.5/255,attacks=linf_pgd+apgd_ce+apgd_dlr,steps=4,rel_stepsize=0.5,restarts=1,"
        "start=random,apgd_steps=10)"
    )
    assert all(lower <= bound for lower, bound in zip(worst.values(), upper, strict=True))
    ((text, mean),) = values(evaluation, "mean_robust_accuracy").items()
    assert text.startswith("linf_worst_case(eps=0.5/255..8/255,")
    assert mean == pytest.approx(np.mean(list(worst.values())))


def test_the_worst_case_is_that_of_every_attack_on_every_image(fitted):
    """Attacked without shortcuts: no survivors, no order of radii."""
    settings = replace(WITH_APGD, attacks=("linf_pgd", "linf_fgsm"), linf_epsilons=("0.5/255", "1/255"))
    evaluation = adversarial(fitted, settings)
    robust = values(evaluation, "robust_accuracy")
    worst = [value for text, value in robust.items() if text.startswith("linf_worst_case")]
    subset, model = AttackedSubset(fitted, settings.num_examples, "any"), fitted.classifier
    attacks = [pgd_attack(fitted, settings), fgsm(model, "linf")]
    attacks += [apgd(model, "linf", loss, steps=10) for loss in ("ce", "dlr")]
    survives = subset.is_correct.copy()
    for (_, epsilon), value in zip(settings.radii("linf_pgd"), worst, strict=True):
        for attack in attacks:
            survives &= ~subset.is_broken(attack, epsilon, subset.is_correct)
        assert np.mean(survives) == value


def test_an_interrupted_worst_case_goes_on_where_it_stopped(fitted):
    whole = adversarial(fitted, WITH_APGD)
    file = fitted.checkpoint_dir / "linf_worst_case.json"
    state = json.loads(file.read_text())
    state["tried"][:8] = [-1] * 8
    file.write_text(json.dumps(state))
    assert adversarial(fitted, WITH_APGD) == whole


@pytest.mark.parametrize("num_classes", [2, 3])
def test_with_few_classes_dlr_is_left_out_and_that_is_said(fitted, num_classes):
    test = fitted.predictions["test"]
    logits = test.logits[:, :num_classes]
    few = replace(
        with_head(fitted, lambda features: fitted.classifier.head(features)[:, :num_classes]),
        predictions={"test": Predictions(ids=test.ids, targets=logits.argmax(axis=1), logits=logits)},
    )
    evaluation = adversarial(few, replace(WITH_APGD, linf_epsilons=("1/255",), num_examples=8))
    assert any("attacks=linf_pgd+apgd_ce," in text for text in values(evaluation, "robust_accuracy"))
    assert any(
        f"needs 4 classes and the classifier has {num_classes}" in text for text in evaluation.warnings
    )


def test_both_norms_have_a_worst_case(fitted):
    settings = replace(
        WITH_APGD,
        attacks=("linf_fgsm", "l2_pgd"),
        linf_epsilons=("1/255",),
        l2_epsilons=("0.2",),
        num_examples=8,
    )
    kinds = [text.partition("(")[0] for text in values(adversarial(fitted, settings), "mean_robust_accuracy")]
    assert kinds == ["linf_worst_case", "l2_worst_case"]


def test_masked_gradients_are_reported(fitted):
    """Rounded features have no gradient, so the attack gets nowhere; the answers change all the same."""
    head = fitted.classifier.head
    masked = with_head(fitted, lambda x: head(x.round(decimals=1).detach() + 0.0 * x))
    assert any("may be masked" in warning for warning in adversarial(masked, SETTINGS).warnings)


def test_every_attack_can_be_asked_for(fitted):
    settings = AdversarialSettings(
        attacks=("linf_fgsm", "l2_pgd", "l2_fgsm", "deepfool"), steps=2, num_examples=8, l2_epsilons=("1",)
    )
    found = adversarial(fitted, settings)
    names = {str(r.condition).partition("(")[0] for r in found.results}
    assert names == {"linf_fgsm", "l2_pgd", "l2_fgsm", "deepfool"}
    ((_, median),) = values(found, "median_perturbation").items()
    assert 0 < median < np.inf


def test_without_a_median_there_is_a_warning_and_no_number(fitted, monkeypatch):
    monkeypatch.setattr(module, "deepfool_distances", lambda *args: np.inf)
    found = adversarial(fitted, AdversarialSettings(attacks=("deepfool",), num_examples=8))
    assert found.results == ()
    assert "fewer than half" in found.warnings[0]
