"""`raybench cost`: what every backbone of a storage costs on this machine, measured once and kept.

A command of its own rather than a step of `raybench run`: the machine that runs an experiment is busy with
it, and often not the one that the backbone will work on.
"""

from collections.abc import Callable

import torch

from raybench.backbones.inference import identity_of, measure_inference
from raybench.backbones.loading import checkpoint_digest
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import EmptyInputError, RaybenchError, ResourceError
from raybench.spec import ExperimentSpec
from raybench.store import ledger
from raybench.store.files import StoragePath
from raybench.store.inference_costs import InferenceCost, cost_file, write_cost

Told = Callable[[str, InferenceCost | None, str], None]
"""(backbone, its cost or None, why there is none or that it was there already)."""


def choose_device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one.

    Raises:
        ResourceError: `cuda` is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ResourceError("this machine has no GPU that torch can use; take `--device cpu`.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def backbones_of(storage: StoragePath, experiment: str | None) -> list[BackboneInfo]:
    """Every backbone that a storage's experiments name, by name; of equal names the first experiment's.

    Raises:
        EmptyInputError: if there is no such experiment.
    """
    names = [experiment] if experiment else ledger.experiments(storage)
    specs = [content for name in names if (content := ledger.load_spec(storage, name)) is not None]
    if not specs:
        asked = f"no experiment {experiment!r}" if experiment else "no experiment"
        raise EmptyInputError(f"{str(storage)!r} holds {asked}; `raybench run` one with it first.")
    found: dict[str, BackboneInfo] = {}
    for content in specs:
        for info in ExperimentSpec.from_dict(content).backbones:
            found.setdefault(info.name, info)
    return [found[name] for name in sorted(found)]


def price(
    storage: StoragePath,
    *,
    experiment: str | None,
    device: torch.device,
    batch_size: int,
    dtype: str,
    again: bool,
    tell: Told,
) -> dict[str, str]:
    """Measure what is not measured yet, one backbone after the other; backbone → why it has no cost.

    Args:
        storage: holds the experiments and takes the costs.
        experiment: only its backbones; None takes all experiments'.
        device: where.
        batch_size: images per batch.
        dtype: `float32` or `bfloat16`.
        again: measure also what is measured already, and replace it.
        tell: called after every backbone.

    Raises:
        EmptyInputError: if there is no such experiment.
        StorageError: if the storage cannot be written.
    """
    failures: dict[str, str] = {}
    for info in backbones_of(storage, experiment):
        try:
            size = preprocessing_of(info).input_size
            identity = identity_of(checkpoint_digest(info), device, size, batch_size, dtype)
            if not again and cost_file(storage, identity).is_file():
                tell(info.name, None, "measured before")
                continue
            cost = measure_inference(info, device=device, batch_size=batch_size, dtype=dtype)
        except (RaybenchError, MemoryError, torch.OutOfMemoryError) as error:
            failures[info.name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            tell(info.name, None, failures[info.name])
            continue
        write_cost(storage, cost)
        tell(info.name, cost, "")
    return failures
