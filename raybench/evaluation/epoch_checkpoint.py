"""Checkpoints of a training run: one file per purpose, replaced whole, so that a kill leaves the last one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from raybench.evaluation.outcomes import EpochResult
from raybench.store.files import StoragePath, open_binary, write_atomic

LAST = "last.pt"
BEST = "best.pt"


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """Everything that the next epoch depends on. Random numbers do not: they follow from (seed, epoch)."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    rungs: list[EpochResult] = field(default_factory=list)
    """Of the epochs completed; replayed on resumption so that the learning curve has no gap."""


def save_state(folder: StoragePath, state: TrainingState) -> None:
    """Write the state after an epoch; the state before stays readable until this one is whole."""
    content = {
        "weights": state.weights,
        "optimizer": state.optimizer,
        "scaler": state.scaler,
        "rungs": [asdict(rung) for rung in state.rungs],
    }
    write_atomic(folder / LAST, lambda file: torch.save(content, file))


def load_state(folder: StoragePath, device: torch.device) -> TrainingState | None:
    """The state after the last completed epoch, or None where there is none."""
    try:
        with open_binary(folder / LAST) as file:
            content = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    return TrainingState(
        weights=content["weights"],
        optimizer=content["optimizer"],
        scaler=content["scaler"],
        rungs=[EpochResult(**rung) for rung in content["rungs"]],
    )


def save_best(folder: StoragePath, weights: dict[str, torch.Tensor]) -> None:
    """Write the weights of the epoch that is best on val so far."""
    write_atomic(folder / BEST, lambda file: torch.save(weights, file))


def load_best(folder: StoragePath, device: torch.device) -> dict[str, torch.Tensor]:
    """The weights that `save_best` wrote last."""
    with open_binary(folder / BEST) as file:
        return torch.load(file, map_location=device, weights_only=True)
