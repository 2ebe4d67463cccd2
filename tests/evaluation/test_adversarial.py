"""The evaluator on a backbone that ships with raybench: checks, shortcuts, interruptions."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.catalog.datasets import find_dataset
from raybench.catalog.evaluators.adversarial import AdversarialSettings
from raybench.data.batches import batches
from raybench.data.loading import load_dataset
from raybench.evaluation import adversarial as module
from raybench.evaluation.adversarial import Arena, adversarial
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.outcomes import Predictions
from raybench.evaluation.subset import stated_subset
from raybench.perturbations.apgd import apgd

SETTINGS = AdversarialSettings(
    linf_epsilons=("0.5/255", "2/255", "8/255"), steps=4, rel_stepsize=0.5, num_examples=24
)


@pytest.fixture(scope="module")
def fitted():
    """A ridge classifier on frozen features of digits, its dataset and its predictions."""
    dataset = load_dataset(find_dataset("digits_10shot")).unlocked()
    backbone = load_backbone(find_backbone("mini_resnet.supervised")).freeze()

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
def subject(fitted, tmp_path):
    classifier, dataset, predictions = fitted
    return SimpleNamespace(
        context=SimpleNamespace(dataset=dataset, device=torch.device("cpu"), num_threads=1),
        classifier=classifier,
        preprocessing=classifier.backbone.preprocessing,
        predictions={"test": predictions},
        batch_size=8,
        seed=0,
        checkpoint_dir=tmp_path / "partial",
    )


def values(evaluation, metric):
    return {str(f.condition): f.value for f in evaluation.findings if f.metric == metric}


def test_accuracy_falls_with_the_radius_and_starts_below_the_clean_one(subject, fitted):
    found = adversarial(subject, SETTINGS)
    robust = list(values(found, "robust_accuracy").values())
    predictions = fitted[2]
    rows = stated_subset(predictions.ids, SETTINGS.num_examples)
    clean = np.mean(predictions.logits[rows].argmax(axis=1) == predictions.targets[rows])
    assert clean >= robust[0] >= robust[1] >= robust[2]
    assert robust[0] > robust[2]
    (mean,) = values(found, "mean_robust_accuracy").values()
    assert mean == pytest.approx(np.mean(robust))
    assert {f.num_examples for f in found.findings} == {24}
    assert [row["robust_accuracy"] for row in found.curves["robust_accuracy"]] == robust


def test_conditions_say_every_setting(subject):
    assert list(values(adversarial(subject, SETTINGS), "robust_accuracy"))[1] == (
        "linf_pgd(eps=2/255,steps=4,rel_stepsize=0.5,restarts=1,start=random)"
    )


def test_attacking_broken_images_again_would_change_nothing(subject):
    arena = Arena(subject, SETTINGS)
    attack, _ = arena.attack_of("linf_pgd")
    radii = SETTINGS.radii("linf_pgd")
    by_shortcut = arena.robust_accuracies("linf_pgd", attack, radii)
    withstood = arena._is_right.copy()
    for (_, epsilon), robust in zip(radii, by_shortcut, strict=True):
        withstood &= ~arena._broken_by(attack, epsilon)
        assert np.mean(withstood) == robust


def test_an_interrupted_attack_goes_on_where_it_stopped(subject, monkeypatch):
    whole = adversarial(subject, SETTINGS)
    (subject.checkpoint_dir / "linf_pgd.json").unlink()
    inner, calls = Arena._attacked, []

    def killed(self, attack, rows, epsilon):
        calls.append(len(rows))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return inner(self, attack, rows, epsilon)

    with monkeypatch.context() as patched:
        patched.setattr(Arena, "_attacked", killed)
        with pytest.raises(KeyboardInterrupt):
            adversarial(subject, SETTINGS)
    assert max(json.loads((subject.checkpoint_dir / "linf_pgd.json").read_text())["tried"]) >= 0
    assert adversarial(subject, SETTINGS) == whole


def test_progress_of_other_settings_is_not_taken_for_this_ones(subject):
    adversarial(subject, SETTINGS)
    weak = AdversarialSettings(linf_epsilons=("1e-9",), steps=1, num_examples=24)
    (robust,) = values(adversarial(subject, weak), "robust_accuracy").values()
    assert robust > 0.5


WITH_APGD = replace(SETTINGS, apgd_steps=10)


def test_apgd_attacks_what_survives_and_the_mean_is_that_of_the_worst_case(subject):
    without, evaluation = adversarial(subject, SETTINGS), adversarial(subject, WITH_APGD)
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


def test_the_worst_case_is_that_of_every_attack_on_every_image(subject):
    """Attacked without shortcuts: no survivors, no order of radii."""
    settings = replace(WITH_APGD, attacks=("linf_pgd", "linf_fgsm"), linf_epsilons=("0.5/255", "1/255"))
    evaluation = adversarial(subject, settings)
    robust = values(evaluation, "robust_accuracy")
    worst = [value for text, value in robust.items() if text.startswith("linf_worst_case")]
    arena = Arena(subject, settings)
    attacks = [arena.attack_of(name)[0] for name in settings.attacks]
    attacks += [apgd(subject.classifier, "linf", loss, steps=10) for loss in ("ce", "dlr")]
    withstood = arena._is_right.copy()
    for (_, epsilon), value in zip(settings.radii("linf_pgd"), worst, strict=True):
        for attack in attacks:
            withstood &= ~arena._broken_by(attack, epsilon)
        assert np.mean(withstood) == value


def test_an_interrupted_worst_case_goes_on_where_it_stopped(subject):
    whole = adversarial(subject, WITH_APGD)
    file = subject.checkpoint_dir / "linf_worst_case.json"
    state = json.loads(file.read_text())
    state["tried"][:8] = [-1] * 8
    file.write_text(json.dumps(state))
    assert adversarial(subject, WITH_APGD) == whole


@pytest.mark.parametrize("num_classes", [2, 3])
def test_with_few_classes_dlr_is_left_out_and_that_is_said(subject, fitted, num_classes):
    class Few(torch.nn.Module):
        def forward(self, features):
            return fitted[0].head(features)[:, :num_classes]

    test = subject.predictions["test"]
    logits = test.logits[:, :num_classes]
    subject.predictions["test"] = Predictions(ids=test.ids, targets=logits.argmax(axis=1), logits=logits)
    subject.classifier = Classifier(fitted[0].backbone, Few()).freeze()
    evaluation = adversarial(subject, replace(WITH_APGD, linf_epsilons=("1/255",), num_examples=8))
    assert any("attacks=linf_pgd+apgd_ce," in text for text in values(evaluation, "robust_accuracy"))
    assert any(
        f"needs 4 classes and the classifier has {num_classes}" in text for text in evaluation.warnings
    )


def test_both_norms_have_a_worst_case(subject):
    settings = replace(
        WITH_APGD,
        attacks=("linf_fgsm", "l2_pgd"),
        linf_epsilons=("1/255",),
        l2_epsilons=("0.2",),
        num_examples=8,
    )
    kinds = [
        text.partition("(")[0] for text in values(adversarial(subject, settings), "mean_robust_accuracy")
    ]
    assert kinds == ["linf_worst_case", "l2_worst_case"]


def test_masked_gradients_are_reported(subject, fitted):
    """Rounding features has no gradient, so the attack goes nowhere; the answers change all the same."""

    class Masked(torch.nn.Module):
        def forward(self, features):
            return fitted[0].head(features.round(decimals=1).detach() + 0.0 * features)

    subject.classifier = Classifier(fitted[0].backbone, Masked()).freeze()
    found = adversarial(subject, SETTINGS)
    assert any("may be masked" in warning for warning in found.warnings)


def test_every_attack_can_be_asked_for(subject):
    settings = AdversarialSettings(
        attacks=("linf_fgsm", "l2_pgd", "l2_fgsm", "deepfool"), steps=2, num_examples=8, l2_epsilons=("1",)
    )
    found = adversarial(subject, settings)
    names = {str(f.condition).partition("(")[0] for f in found.findings}
    assert names == {"linf_fgsm", "l2_pgd", "l2_fgsm", "deepfool"}
    ((_, median),) = values(found, "median_perturbation").items()
    assert 0 < median < np.inf


def test_without_a_median_there_is_a_warning_and_no_number(subject, monkeypatch):
    monkeypatch.setattr(module, "deepfool_distances", lambda *args: np.inf)
    found = adversarial(subject, AdversarialSettings(attacks=("deepfool",), num_examples=8))
    assert found.findings == ()
    assert "fewer than half" in found.warnings[0]
