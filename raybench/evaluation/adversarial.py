"""The evaluator `adversarial`: robust accuracy over growing radii, and whether it can be believed.

Radii are tried in ascending order. An image that an attack has broken at one radius is not attacked at a
larger one: the ball there contains the smaller, so it stays broken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from raybench.catalog.evaluators.adversarial import NORMS, AdversarialSettings, radius
from raybench.core.condition import Condition
from raybench.data.batches import batches
from raybench.evaluation.outcomes import Evaluation, Finding
from raybench.evaluation.subject import Subject
from raybench.evaluation.subset import stated_subset
from raybench.metrics.robustness import mean_robust_accuracy, median_perturbation, robust_accuracy
from raybench.perturbations.apgd import MIN_DLR_CLASSES, Loss, apgd, in_sequence
from raybench.perturbations.attacks import Attack, Norm, deepfool_distances, fgsm, noise, pgd
from raybench.store.files import read_bytes, write_atomic

ABOUT_ZERO = 0.05
"""Robust accuracy at the sanity radius above which gradients are suspected to be masked."""
BATCH_SIZE = 64
"""Images attacked at once on a GPU; a CPU takes what its caches hold."""


def adversarial(subject: Subject, settings: AdversarialSettings) -> Evaluation:
    """Attack a stated subset of test.

    Returns:
        `robust_accuracy` per attack and radius, an upper bound of the accuracy under the worst perturbation;
        `mean_robust_accuracy` per attack; `median_perturbation` of DeepFool; the curve `robust_accuracy`;
        warnings where a check fails that reviewers ask for. With `apgd_steps` also `robust_accuracy` of
        `linf_worst_case` and `l2_worst_case`: after all attacks of that norm and APGD on what survives them;
        then `mean_robust_accuracy` is that of the worst cases only.

    Sources: Croce & Hein, ICML 2020, for the worst case (two of AutoAttack's four attacks); Carlini et al.,
    "On Evaluating Adversarial Robustness", arXiv 1902.06705, section 5, for the checks.
    """
    arena = Arena(subject, settings)
    measured: list[RadiusCurve] = []
    findings: list[Finding] = []
    warnings: list[str] = []
    for name in settings.attacks:
        if name == "deepfool":
            findings += arena.smallest_perturbation(warnings)
            continue
        attack, norm = arena.attack_of(name)
        accuracies = arena.robust_accuracies(name, attack, settings.radii(name))
        described = described_settings(name, settings)
        has_mean = not settings.apgd_steps
        measured.append(RadiusCurve(name, settings.radii(name), described, accuracies, has_mean))
        if name.endswith("pgd"):
            warnings += arena.doubts(name, attack, norm, settings.radii(name), accuracies)
    if settings.apgd_steps:
        norms = dict.fromkeys(NORMS[name] for name in settings.attacks if name != "deepfool")
        measured += [worst_case(arena, settings, norm, warnings) for norm in norms]
    findings += [arena.finding(*parts) for curve in measured for parts in curve.findings()]
    rows = [row for curve in measured for row in curve.rows()]
    return Evaluation(
        findings=tuple(findings), curves={"robust_accuracy": tuple(rows)}, warnings=tuple(warnings)
    )


@dataclass(frozen=True, slots=True)
class RadiusCurve:
    """Robust accuracy over the radii of an attack, or of several."""

    name: str
    radii: tuple[tuple[str, float], ...]
    described: str
    """Settings beside the radius, for the condition."""
    accuracies: list[float]
    has_mean: bool

    def findings(self) -> list[tuple[str, str, float]]:
        """(Metric, condition, value) of every radius, and of their mean."""
        texts = [text for text, _ in self.radii]
        values = [
            ("robust_accuracy", f"{self.name}(eps={text}{self.described})", accuracy)
            for text, accuracy in zip(texts, self.accuracies, strict=True)
        ]
        if self.has_mean:
            span = f"{self.name}(eps={texts[0]}..{texts[-1]}{self.described})"
            values.append(("mean_robust_accuracy", span, mean_robust_accuracy(self.accuracies)))
        return values

    def rows(self) -> list[Mapping[str, float | str]]:
        """Rows of the curve `robust_accuracy`."""
        return [
            {"attack": self.name, "epsilon": epsilon, "robust_accuracy": accuracy}
            for (_, epsilon), accuracy in zip(self.radii, self.accuracies, strict=True)
        ]


def worst_case(arena: Arena, settings: AdversarialSettings, norm: Norm, warnings: list[str]) -> RadiusCurve:
    """Accuracy after all attacks of a norm, and APGD on the images that survive them."""
    name = f"{norm}_worst_case"
    fixed = [attack for attack in settings.attacks if attack != "deepfool" and NORMS[attack] == norm]
    losses: tuple[Loss, ...] = ("ce", "dlr")
    if arena.num_classes < MIN_DLR_CLASSES:
        losses = ("ce",)
        warnings.append(
            f"{name}: the DLR loss needs {MIN_DLR_CLASSES} classes and the classifier has "
            f"{arena.num_classes}; APGD attacked with cross-entropy only."
        )
    attacks = "+".join([*fixed, *(f"apgd_{loss}" for loss in losses)])
    # FGSM has no settings; all attacks by PGD have the same.
    of_pgd = max(described_settings(attack, settings) for attack in fixed)
    described = f",attacks={attacks}{of_pgd},apgd_steps={settings.apgd_steps}"
    radii = settings.radii(fixed[0])
    return RadiusCurve(name, radii, described, arena.worst_accuracies(name, fixed, losses), has_mean=True)


def described_settings(name: str, settings: AdversarialSettings) -> str:
    """What changes the attack's numbers beside the radius, for the condition."""
    if name.endswith("fgsm"):
        return ""
    start = "random" if settings.random_start else "image"
    steps = f",steps={settings.steps},rel_stepsize={settings.rel_stepsize:g}"
    return f"{steps},restarts={settings.restarts},start={start}"


class Arena:
    """The subset under attack, and what became of each of its images."""

    def __init__(self, subject: Subject, settings: AdversarialSettings) -> None:
        self._subject = subject
        self._settings = settings
        self._device = subject.context.device
        test = subject.predictions["test"]
        self._positions = stated_subset(test.ids, settings.num_examples)
        self._ids = [test.ids[p] for p in self._positions]
        self._targets = torch.tensor(test.targets[self._positions])
        self._is_right = test.logits[self._positions].argmax(axis=1) == test.targets[self._positions]
        self.num_classes: int = test.logits.shape[1]
        self._images: torch.Tensor | None = None

    def finding(self, metric: str, text: str, value: float) -> Finding:
        condition, num_examples = Condition.parse(text), len(self._positions)
        return Finding(metric=metric, condition=condition, value=value, num_examples=num_examples)

    def attack_of(self, name: str) -> tuple[Attack, Norm]:
        """The attack on this classifier, and its norm."""
        norm: Norm = NORMS[name]
        model = self._subject.classifier
        if name.endswith("fgsm"):
            return fgsm(model, norm), norm
        settings = self._settings
        return pgd(
            model,
            norm,
            steps=settings.steps,
            rel_stepsize=settings.rel_stepsize,
            restarts=settings.restarts,
            random_start=settings.random_start,
            seed=self._subject.seed,
        ), norm

    def robust_accuracies(
        self, name: str, attack: Attack, radii: tuple[tuple[str, float], ...]
    ) -> list[float]:
        """Share of images still recognised after the attack at each radius, ascending."""
        broken_at = self._broken_at(name, attack, radii)
        return [robust_accuracy(broken_at, i) for i in range(len(radii))]

    def worst_accuracies(self, name: str, fixed: Sequence[str], losses: Sequence[Loss]) -> list[float]:
        """Share of images at each radius that withstand the `fixed` attacks of one norm, then APGD."""
        settings, norm, radii = self._settings, NORMS[fixed[0]], self._settings.radii(fixed[0])
        by_fixed = [self._broken_at(attack, self.attack_of(attack)[0], radii) for attack in fixed]
        model, seed = self._subject.classifier, self._subject.seed
        adaptive = in_sequence(
            [apgd(model, norm, loss, steps=settings.apgd_steps, seed=seed) for loss in losses]
        )
        broken_at = self._broken_at(name, adaptive, radii, np.min(by_fixed, axis=0))
        return [robust_accuracy(broken_at, i) for i in range(len(radii))]

    def smallest_perturbation(self, warnings: list[str]) -> list[Finding]:
        """The median over the subset; images that are wrong already count 0, unbroken ones as infinite."""
        distances = np.zeros(len(self._positions))
        for rows in self._chunks(np.flatnonzero(self._is_right)):
            distances[rows] = deepfool_distances(
                self._subject.classifier, self._pixels(rows), self._targets[rows].to(self._device)
            )
        median = median_perturbation(distances)
        if not np.isfinite(median):
            warnings.append("DeepFool changed the answer to fewer than half of the images; no median.")
            return []
        return [self.finding("median_perturbation", "deepfool(norm=l2,steps=50)", median)]

    def doubts(
        self,
        name: str,
        attack: Attack,
        norm: Norm,
        radii: tuple[tuple[str, float], ...],
        accuracies: list[float],
    ) -> list[str]:
        """Sentences for every check that fails: without them robust accuracy is not to be believed."""
        found = []
        largest_text, largest = radii[-1]
        survivors = np.flatnonzero(self._broken_at(name, attack, radii) >= len(radii))
        by_noise = self._broken_by(noise(self._subject.classifier, norm, seed=self._subject.seed), largest)
        if np.mean(self._is_right & ~by_noise) < accuracies[-1]:
            found.append(
                f"{name}: random noise of radius {largest_text} breaks more images than the attack; its "
                "gradients may be masked."
            )
        if norm == "linf":
            epsilon = max(radius(self._settings.sanity_epsilon), largest)
            left = np.zeros(len(self._positions), dtype=bool)
            for rows in self._chunks(survivors):
                left[rows] = ~self._attacked(attack, rows, epsilon)
            if np.mean(left) > ABOUT_ZERO:
                found.append(
                    f"{name}: {np.mean(left):.0%} of the images withstand radius "
                    f"{self._settings.sanity_epsilon}, where nothing should; its gradients may be masked."
                )
        return found

    def _broken_by(self, attack: Attack, epsilon: float) -> Bool[np.ndarray, " n"]:
        broken = np.zeros(len(self._positions), dtype=bool)
        for rows in self._chunks(np.flatnonzero(self._is_right)):
            broken[rows] = self._attacked(attack, rows, epsilon)
        return broken

    def _broken_at(
        self,
        name: str,
        attack: Attack,
        radii: tuple[tuple[str, float], ...],
        known: Int[np.ndarray, " n"] | None = None,
    ) -> Int[np.ndarray, " n"]:
        """Index of the first radius that breaks an image; −1 where it is wrong anyway, len(radii) where none.

        `known` holds these indices for other attacks: only radii below them are tried.
        Progress is kept after every batch: an interrupted attack goes on from there.
        """
        if known is None:
            known = np.where(self._is_right, len(radii), -1)
        tried, broken_at = self._restored(name, known)
        for i, (_, epsilon) in enumerate(radii):
            for rows in self._chunks(np.flatnonzero((tried < i) & (broken_at > i))):
                broken = self._attacked(attack, rows, epsilon)
                broken_at[rows[broken]] = i
                tried[rows] = i
                self._save(name, tried, broken_at)
        return broken_at

    def _attacked(
        self, attack: Attack, rows: Int[np.ndarray, " b"], epsilon: float
    ) -> Bool[np.ndarray, " b"]:
        targets = self._targets[rows].to(self._device)
        _, broken = attack(self._pixels(rows), targets, [self._ids[r] for r in rows], epsilon)
        return np.asarray(broken.cpu())

    def _chunks(self, rows: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " b"]]:
        size = min(BATCH_SIZE, self._subject.batch_size)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _pixels(self, rows: Int[np.ndarray, " b"]) -> torch.Tensor:
        """[b, 3, s, s] in [0, 1]. The subset is decoded once and kept as bytes."""
        if self._images is None:
            subject = self._subject
            stream = batches(
                subject.context.dataset.test.take(self._positions),
                subject.preprocessing,
                subject.batch_size,
                num_threads=subject.context.num_threads,
            )
            self._images = torch.cat([(pixels * 255).round().to(torch.uint8) for pixels in stream])
        return self._images[torch.from_numpy(rows)].to(self._device).to(torch.float32).div_(255)

    def _restored(self, name: str, known: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """(Index of the last radius tried, index of the one that broke it, at first `known`) per image."""
        try:
            state: dict[str, Any] = json.loads(read_bytes(self._subject.checkpoint_dir / f"{name}.json"))
        except (OSError, ValueError):
            state = {}
        if state.get("settings") == self._settings.digest and state.get("ids") == len(self._ids):
            return np.array(state["tried"]), np.array(state["broken_at"])
        return np.full(len(self._positions), -1), known.copy()

    def _save(self, name: str, tried: np.ndarray, broken_at: np.ndarray) -> None:
        state = {
            "settings": self._settings.digest,
            "ids": len(self._ids),
            "tried": tried.tolist(),
            "broken_at": broken_at.tolist(),
        }
        content = json.dumps(state).encode()
        write_atomic(self._subject.checkpoint_dir / f"{name}.json", lambda file: file.write(content))
