"""Checkpoints of a training run: one file per purpose, replaced whole, so that a kill leaves the last one."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from raybench.evaluation.context import Rung

LAST = "last.pt"
BEST = "best.pt"


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """Everything that the next epoch depends on. Random numbers do not: they follow from (seed, epoch)."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    rungs: list[Rung] = field(default_factory=list)
    """Of the epochs completed; replayed on resumption so that the learning curve has no gap."""


def save_state(folder: Path, state: TrainingState) -> None:
    """Write the state after an epoch; the state before stays readable until this one is whole."""
    content = {
        "weights": state.weights,
        "optimizer": state.optimizer,
        "scaler": state.scaler,
        "rungs": [asdict(rung) for rung in state.rungs],
    }
    _replace(folder / LAST, content)


def load_state(folder: Path, device: torch.device) -> TrainingState | None:
    """The state after the last completed epoch, or None where there is none."""
    file = folder / LAST
    if not file.exists():
        return None
    content = torch.load(file, map_location=device, weights_only=True)
    return TrainingState(
        weights=content["weights"],
        optimizer=content["optimizer"],
        scaler=content["scaler"],
        rungs=[Rung(**rung) for rung in content["rungs"]],
    )


def save_best(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write the weights of the epoch that is best on val so far."""
    _replace(folder / BEST, weights)


def load_best(folder: Path, device: torch.device) -> dict[str, torch.Tensor]:
    """The weights that `save_best` wrote last."""
    return torch.load(folder / BEST, map_location=device, weights_only=True)


def _replace(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
