"""The evaluator `adversarial`: robust accuracy over growing radii, and whether it can be believed.

Radii are tried in ascending order. An image that an attack has broken at one radius is not attacked at a
larger one: the ball there contains the smaller, so it stays broken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from raybench.perturbations.attacks import Attack, Norm, deepfool_distances, fgsm, noise, pgd
from raybench.store.files import read_bytes, write_atomic

ABOUT_ZERO = 0.05
"""Robust accuracy at the sanity radius above which gradients are suspected to be masked."""
BATCH_SIZE = 64
"""Images attacked at once on a GPU; a CPU takes what its caches hold."""


def adversarial(subject: Subject, settings: AdversarialSettings) -> Evaluation:
    """Attack a stated subset of test.

    Returns:
        `robust_accuracy` per attack and radius, `mean_robust_accuracy` per attack, `median_perturbation` of
        DeepFool; the curve `robust_accuracy`; warnings where a check fails that reviewers ask for.

    Source: checks of Carlini et al., "On Evaluating Adversarial Robustness", arXiv 1902.06705, section 5.
    """
    arena = Arena(subject, settings)
    findings: list[Finding] = []
    curve: list[Mapping[str, float | str]] = []
    warnings: list[str] = []
    for name in settings.attacks:
        if name == "deepfool":
            findings += arena.smallest_perturbation(warnings)
            continue
        attack, norm = arena.attack_of(name)
        described = described_settings(name, settings)
        accuracies = arena.robust_accuracies(name, attack, settings.radii(name))
        for (text, epsilon), accuracy in zip(settings.radii(name), accuracies, strict=True):
            findings.append(arena.finding("robust_accuracy", f"{name}(eps={text}{described})", accuracy))
            curve.append({"attack": name, "epsilon": epsilon, "robust_accuracy": accuracy})
        span = f"{settings.radii(name)[0][0]}..{settings.radii(name)[-1][0]}"
        mean = float(np.mean(accuracies))
        findings.append(arena.finding("mean_robust_accuracy", f"{name}(eps={span}{described})", mean))
        if name.endswith("pgd"):
            warnings += arena.doubts(name, attack, norm, settings.radii(name), accuracies)
    return Evaluation(
        findings=tuple(findings), curves={"robust_accuracy": tuple(curve)}, warnings=tuple(warnings)
    )


def described_settings(name: str, settings: AdversarialSettings) -> str:
    """What changes the attack's numbers beside the radius, for the condition."""
    if name.endswith("fgsm"):
        return ""
    start = "random" if settings.random_start else "image"
    return (
        f",steps={settings.steps},rel_stepsize={settings.rel_stepsize:g},restarts={settings.restarts},"
        f"start={start}"
    )


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
        self._images: torch.Tensor | None = None

    def finding(self, metric: str, condition: str, value: float) -> Finding:
        return Finding(
            metric=metric,
            condition=Condition.parse(condition),
            value=value,
            num_examples=len(self._positions),
        )

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
        return [float(np.mean(broken_at > i)) for i in range(len(radii))]

    def smallest_perturbation(self, warnings: list[str]) -> list[Finding]:
        """The median over the subset; images that are wrong already count 0, unbroken ones as infinite."""
        distances = np.zeros(len(self._positions))
        for rows in self._chunks(np.flatnonzero(self._is_right)):
            distances[rows] = deepfool_distances(
                self._subject.classifier, self._pixels(rows), self._targets[rows].to(self._device)
            )
        median = float(np.median(distances))
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
        self, name: str, attack: Attack, radii: tuple[tuple[str, float], ...]
    ) -> Int[np.ndarray, " n"]:
        """Index of the first radius that breaks an image; −1 where it is wrong anyway, len(radii) where none.

        Progress is kept after every batch: an interrupted attack goes on from there.
        """
        tried, broken_at = self._restored(name, len(radii))
        for i, (_, epsilon) in enumerate(radii):
            for rows in self._chunks(np.flatnonzero((tried < i) & (broken_at == len(radii)))):
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

    def _restored(self, name: str, num_radii: int) -> tuple[np.ndarray, np.ndarray]:
        """(Index of the last radius tried, index of the one that broke it) per image."""
        try:
            state: dict[str, Any] = json.loads(read_bytes(self._subject.checkpoint_dir / f"{name}.json"))
        except (OSError, ValueError):
            state = {}
        if state.get("settings") == self._settings.digest and state.get("ids") == len(self._ids):
            return np.array(state["tried"]), np.array(state["broken_at"])
        broken_at = np.where(self._is_right, num_radii, -1)
        return np.full(len(self._positions), -1), broken_at

    def _save(self, name: str, tried: np.ndarray, broken_at: np.ndarray) -> None:
        state = {
            "settings": self._settings.digest,
            "ids": len(self._ids),
            "tried": tried.tolist(),
            "broken_at": broken_at.tolist(),
        }
        content = json.dumps(state).encode()
        write_atomic(self._subject.checkpoint_dir / f"{name}.json", lambda file: file.write(content))
