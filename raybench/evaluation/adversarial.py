"""The evaluator `adversarial`: robust accuracy over growing radii, and signs of masked gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raybench.catalog.evaluators.adversarial import NORMS, AdversarialSettings, radius
from raybench.core.condition import Condition
from raybench.evaluation.attacked_subset import AttackedSubset
from raybench.evaluation.fitted_classifier import FittedClassifier
from raybench.evaluation.outcomes import Evaluation, MetricResult
from raybench.metrics.robustness import mean_robust_accuracy, median_perturbation, robust_accuracy
from raybench.perturbations.apgd import MIN_DLR_CLASSES, Loss, apgd, in_sequence
from raybench.perturbations.attacks import DEEPFOOL_STEPS, Attack, Norm, fgsm, noise, pgd

MAX_SANE_ACCURACY = 0.05
"""Robust accuracy at the sanity radius above which gradients are probably masked."""

ConditionSettings = tuple[tuple[str, str], ...]


def adversarial(fitted: FittedClassifier, settings: AdversarialSettings) -> Evaluation:
    """Attack a subset of test.

    Returns:
        `robust_accuracy` per attack and radius, an upper bound of the accuracy under the worst perturbation;
        `mean_robust_accuracy` per attack; `median_perturbation` of DeepFool; the curve `robust_accuracy`;
        warnings where gradients are probably masked. With `apgd_steps` also `robust_accuracy` of
        `linf_worst_case` and `l2_worst_case`: after all attacks of that norm and APGD on what survives them;
        then `mean_robust_accuracy` is that of the worst cases only.

    Sources: Croce & Hein, ICML 2020, for the worst case (two of AutoAttack's four attacks); Carlini et al.,
    "On Evaluating Adversarial Robustness", arXiv 1902.06705, section 5, for the checks.
    """
    evaluation = AdversarialEvaluation(fitted, settings)
    for name in settings.attacks:
        if name == "deepfool":
            evaluation.add_deepfool()
        else:
            evaluation.add_attack(name)
    if settings.apgd_steps:
        for norm in dict.fromkeys(NORMS[name] for name in settings.attacks if name != "deepfool"):
            evaluation.add_worst_case(norm)
    return evaluation.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiusCurve:
    """Robust accuracy over the radii of one attack, or of several in sequence."""

    name: str
    radii: tuple[tuple[str, float], ...]
    settings: ConditionSettings
    """Settings other than the radius."""
    accuracies: list[float]
    has_mean: bool

    def values(self) -> list[tuple[str, Condition, float]]:
        """(Metric, condition, value) of every radius, and of their mean."""
        texts = [text for text, _ in self.radii]
        values = [
            ("robust_accuracy", self._condition(text), accuracy)
            for text, accuracy in zip(texts, self.accuracies, strict=True)
        ]
        if self.has_mean:
            condition = self._condition(f"{texts[0]}..{texts[-1]}")
            values.append(("mean_robust_accuracy", condition, mean_robust_accuracy(self.accuracies)))
        return values

    def rows(self) -> list[Mapping[str, float | str]]:
        """Rows of the curve `robust_accuracy`."""
        return [
            {"attack": self.name, "epsilon": epsilon, "robust_accuracy": accuracy}
            for (_, epsilon), accuracy in zip(self.radii, self.accuracies, strict=True)
        ]

    def _condition(self, epsilon: str) -> Condition:
        return Condition(self.name, settings=(("eps", epsilon), *self.settings))


class AdversarialEvaluation:
    """Results of several attacks on one subset, collected in order."""

    def __init__(self, fitted: FittedClassifier, settings: AdversarialSettings) -> None:
        self._fitted = fitted
        self._settings = settings
        self._subset = AttackedSubset(fitted, settings.num_examples, settings.digest)
        self._values: list[tuple[str, Condition, float]] = []
        self._curves: list[RadiusCurve] = []
        self._warnings: list[str] = []

    def add_attack(self, name: str) -> None:
        """Attack at every radius; check the gradients of PGD."""
        radii, attack = self._settings.radii(name), self._attack(name)
        broken_at = self._subset.broken_at(name, attack, radii)
        self._curves.append(
            RadiusCurve(
                name=name,
                radii=radii,
                settings=attack_settings(name, self._settings),
                accuracies=[robust_accuracy(broken_at, i) for i in range(len(radii))],
                has_mean=not self._settings.apgd_steps,
            )
        )
        if name.endswith("pgd"):
            self._check_gradients(name, attack, broken_at)

    def add_deepfool(self) -> None:
        """Add the median over the subset; misclassified images count 0, surviving ones infinity."""
        median = median_perturbation(self._subset.deepfool_distances())
        if not np.isfinite(median):
            self._warnings.append("DeepFool changed the answer to fewer than half of the images; no median.")
            return
        condition = Condition("deepfool", settings=(("norm", "l2"), ("steps", str(DEEPFOOL_STEPS))))
        self._values.append(("median_perturbation", condition, median))

    def add_worst_case(self, norm: Norm) -> None:
        """Add the accuracy after all attacks of a norm, and APGD on the images that survive them."""
        name, settings = f"{norm}_worst_case", self._settings
        others = [attack for attack in settings.attacks if attack != "deepfool" and NORMS[attack] == norm]
        losses = self._apgd_losses(name)
        radii = settings.radii(others[0])
        adaptive = in_sequence(
            [
                apgd(self._fitted.classifier, norm, loss, steps=settings.apgd_steps, seed=self._fitted.seed)
                for loss in losses
            ]
        )
        by_others = [self._subset.broken_at(other, self._attack(other), radii) for other in others]
        broken_at = self._subset.broken_at(name, adaptive, radii, np.min(by_others, axis=0))
        self._curves.append(
            RadiusCurve(
                name=name,
                radii=radii,
                settings=(
                    ("attacks", "+".join([*others, *(f"apgd_{loss}" for loss in losses)])),
                    # FGSM has no settings; all attacks by PGD have the same.
                    *max(attack_settings(other, settings) for other in others),
                    ("apgd_steps", str(settings.apgd_steps)),
                ),
                accuracies=[robust_accuracy(broken_at, i) for i in range(len(radii))],
                has_mean=True,
            )
        )

    def result(self) -> Evaluation:
        """All values, the one of DeepFool first; curves; warnings."""
        values = [*self._values, *(value for curve in self._curves for value in curve.values())]
        return Evaluation(
            results=tuple(
                MetricResult(metric=metric, condition=condition, value=value, num_examples=len(self._subset))
                for metric, condition, value in values
            ),
            curves={"robust_accuracy": tuple(row for curve in self._curves for row in curve.rows())},
            warnings=tuple(self._warnings),
        )

    def _attack(self, name: str) -> Attack:
        model, settings = self._fitted.classifier, self._settings
        if name.endswith("fgsm"):
            return fgsm(model, NORMS[name])
        return pgd(
            model,
            NORMS[name],
            steps=settings.steps,
            rel_stepsize=settings.rel_stepsize,
            restarts=settings.restarts,
            random_start=settings.random_start,
            seed=self._fitted.seed,
        )

    def _apgd_losses(self, name: str) -> Sequence[Loss]:
        num_classes = self._fitted.predictions["test"].logits.shape[1]
        if num_classes >= MIN_DLR_CLASSES:
            return ("ce", "dlr")
        self._warnings.append(
            f"{name}: the DLR loss needs {MIN_DLR_CLASSES} classes and the classifier has "
            f"{num_classes}; APGD attacked with cross-entropy only."
        )
        return ("ce",)

    def _check_gradients(self, name: str, attack: Attack, broken_at: np.ndarray) -> None:
        """Warn if random noise beats the attack, or if images survive where none should."""
        subset, settings = self._subset, self._settings
        largest_text, largest = settings.radii(name)[-1]
        survives = broken_at == len(settings.radii(name))
        random_noise = noise(self._fitted.classifier, NORMS[name], seed=self._fitted.seed)
        by_noise = subset.is_broken(random_noise, largest, subset.is_correct)
        if np.mean(subset.is_correct & ~by_noise) < np.mean(survives):
            self._warnings.append(
                f"{name}: random noise of radius {largest_text} breaks more images than the attack; its "
                "gradients may be masked."
            )
        if NORMS[name] == "linf":
            epsilon = max(radius(settings.sanity_epsilon), largest)
            share = np.mean(survives & ~subset.is_broken(attack, epsilon, survives))
            if share > MAX_SANE_ACCURACY:
                self._warnings.append(
                    f"{name}: {share:.0%} of the images withstand radius {settings.sanity_epsilon}, where "
                    "nothing should; its gradients may be masked."
                )


def attack_settings(name: str, settings: AdversarialSettings) -> ConditionSettings:
    """Settings other than the radius that change an attack's numbers, as a condition holds them."""
    if name.endswith("fgsm"):
        return ()
    return (
        ("steps", str(settings.steps)),
        ("rel_stepsize", f"{settings.rel_stepsize:g}"),
        ("restarts", str(settings.restarts)),
        ("start", "random" if settings.random_start else "image"),
    )
