"""A subset of test under attack: its images, and the smallest radius at which each is misclassified."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from raybench.evaluation.fitted_classifier import FittedClassifier
from raybench.evaluation.subset import hashed_subset
from raybench.perturbations.attacks import Attack, deepfool_distances
from raybench.store.files import read_bytes, write_atomic

MAX_BATCH_SIZE = 64
"""Images attacked at once; fewer where the classifier's batches are smaller."""


class AttackedSubset:
    """Test images chosen by a hash of their ids; decoded once and held as bytes."""

    def __init__(self, fitted: FittedClassifier, num_examples: int | None, settings_digest: str) -> None:
        """`settings_digest`: partial results of an earlier attempt are used only if theirs is the same."""
        self._fitted = fitted
        self._digest = settings_digest
        self._device = fitted.context.device
        test = fitted.predictions["test"]
        self._positions = hashed_subset(test.ids, num_examples)
        self._ids = [test.ids[position] for position in self._positions]
        self._targets = torch.tensor(test.targets[self._positions])
        self.is_correct = test.logits[self._positions].argmax(axis=1) == test.targets[self._positions]
        """Whether each clean image is classified correctly, [n]."""
        self._images: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self._positions)

    def broken_at(
        self,
        name: str,
        attack: Attack,
        radii: tuple[tuple[str, float], ...],
        earlier: Int[np.ndarray, " n"] | None = None,
    ) -> Int[np.ndarray, " n"]:
        """Index of the first radius at which the attack succeeds on each image.

        −1 if the clean image is misclassified, len(radii) if no radius suffices. An image that is
        misclassified at one radius is not attacked at a larger one, whose ball contains the smaller. Progress
        is stored after every batch, so an interrupted attack resumes there.

        Args:
            name: of the file with the progress.
            attack: what searches the ball.
            radii: (text, number), ascending.
            earlier: such indices from other attacks; only smaller radii are tried.
        """
        if earlier is None:
            earlier = np.where(self.is_correct, len(radii), -1)
        last_tried, broken_at = self._load_progress(name, earlier)
        for i, (_, epsilon) in enumerate(radii):
            for rows in self._chunks((last_tried < i) & (broken_at > i)):
                broken_at[rows[self._attack(attack, rows, epsilon)]] = i
                last_tried[rows] = i
                self._save_progress(name, last_tried, broken_at)
        return broken_at

    def is_broken(
        self, attack: Attack, epsilon: float, among: Bool[np.ndarray, " n"]
    ) -> Bool[np.ndarray, " n"]:
        """Whether the attack succeeds on each image; False outside `among`, where it is not tried."""
        broken = np.zeros(len(self), dtype=bool)
        for rows in self._chunks(among):
            broken[rows] = self._attack(attack, rows, epsilon)
        return broken

    def deepfool_distances(self) -> Float[np.ndarray, " n"]:
        """L2 distance of DeepFool's perturbations: 0 for misclassified images, infinite where it fails."""
        distances = np.zeros(len(self))
        for rows in self._chunks(self.is_correct):
            distances[rows] = deepfool_distances(
                self._fitted.classifier, self._pixels(rows), self._targets[rows].to(self._device)
            )
        return distances

    def _attack(self, attack: Attack, rows: Int[np.ndarray, " b"], epsilon: float) -> Bool[np.ndarray, " b"]:
        targets = self._targets[rows].to(self._device)
        _, broken = attack(self._pixels(rows), targets, [self._ids[row] for row in rows], epsilon)
        return np.asarray(broken.cpu())

    def _chunks(self, mask: Bool[np.ndarray, " n"]) -> list[Int[np.ndarray, " b"]]:
        rows, size = np.flatnonzero(mask), min(MAX_BATCH_SIZE, self._fitted.batch_size)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _pixels(self, rows: Int[np.ndarray, " b"]) -> Float[torch.Tensor, "b 3 s s"]:
        """Pixels in [0, 1]."""
        if self._images is None:
            stream = self._fitted.pixel_batches(self._fitted.context.dataset.test.take(self._positions))
            self._images = torch.cat([(pixels * 255).round().to(torch.uint8).cpu() for pixels in stream])
        return self._images[torch.from_numpy(rows)].to(self._device).to(torch.float32).div_(255)

    def _load_progress(self, name: str, earlier: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """(Index of the last radius tried, index of the first that succeeded) per image."""
        try:
            state: dict[str, Any] = json.loads(read_bytes(self._fitted.checkpoint_dir / f"{name}.json"))
        except (OSError, ValueError):
            state = {}
        if state.get("settings") == self._digest and state.get("ids") == len(self):
            return np.array(state["tried"]), np.array(state["broken_at"])
        return np.full(len(self), -1), earlier.copy()

    def _save_progress(self, name: str, last_tried: np.ndarray, broken_at: np.ndarray) -> None:
        state = {
            "settings": self._digest,
            "ids": len(self),
            "tried": last_tried.tolist(),
            "broken_at": broken_at.tolist(),
        }
        content = json.dumps(state).encode()
        write_atomic(self._fitted.checkpoint_dir / f"{name}.json", lambda file: file.write(content))
