"""Checkpoints of a training run: the last epoch and the best one, each a file that is replaced whole."""

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
    """Everything the next epoch depends on. Random states are not needed: they follow from (seed, epoch)."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    """Moving average of the weights and its number of steps; empty if the recipe has none."""
    results: list[EpochResult] = field(default_factory=list)
    """Results of the completed epochs; a resumed run yields them again, so its learning curve is complete."""


def save_state(folder: StoragePath, state: TrainingState) -> None:
    """Replace the state of the last epoch; the old file stays readable until the new one is complete."""
    content = {
        "weights": state.weights,
        "optimizer": state.optimizer,
        "scaler": state.scaler,
        "average": state.average,
        "rungs": [asdict(result) for result in state.results],  # The name that earlier versions wrote.
    }
    write_atomic(folder / LAST, lambda file: torch.save(content, file))


def load_state(folder: StoragePath, device: torch.device) -> TrainingState | None:
    """The state after the last completed epoch, or None if there is none."""
    try:
        with open_binary(folder / LAST) as file:
            content = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    return TrainingState(
        weights=content["weights"],
        optimizer=content["optimizer"],
        scaler=content["scaler"],
        average=content.get("average", {}),  # Earlier versions had none.
        results=[EpochResult(**result) for result in content["rungs"]],
    )


def save_best(folder: StoragePath, weights: dict[str, torch.Tensor]) -> None:
    """Replace the weights of the epoch that is best on val so far."""
    write_atomic(folder / BEST, lambda file: torch.save(weights, file))


def load_best(folder: StoragePath, device: torch.device) -> dict[str, torch.Tensor]:
    """The weights that `save_best` wrote last."""
    with open_binary(folder / BEST) as file:
        return torch.load(file, map_location=device, weights_only=True)
