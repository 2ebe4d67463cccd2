"""`raybench cost`: measure and store the inference cost of every backbone of a storage on this machine.

A command of its own rather than a step of `raybench run`: the machine that runs an experiment is busy, and
often not the one on which the backbone will be used.
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

OnResult = Callable[[str, InferenceCost | None, str], None]
"""Takes (backbone, its cost or None, why it was not measured)."""


def choose_device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one.

    Raises:
        ResourceError: if `cuda` is requested and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ResourceError("this machine has no GPU that torch can use; take `--device cpu`.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def backbones_of(storage: StoragePath, experiment: str | None) -> list[BackboneInfo]:
    """Backbones of a storage's experiments, sorted by name; for equal names the first experiment's row.

    Raises:
        EmptyInputError: if there is no such experiment.
    """
    names = [experiment] if experiment else ledger.experiments(storage)
    specs = [content for name in names if (content := ledger.load_spec(storage, name)) is not None]
    if not specs:
        missing = f"no experiment {experiment!r}" if experiment else "no experiment"
        raise EmptyInputError(f"{str(storage)!r} holds {missing}; `raybench run` one with it first.")
    by_name: dict[str, BackboneInfo] = {}
    for content in specs:
        for info in ExperimentSpec.from_dict(content).backbones:
            by_name.setdefault(info.name, info)
    return [by_name[name] for name in sorted(by_name)]


def measure_costs(
    storage: StoragePath,
    *,
    experiment: str | None,
    device: torch.device,
    batch_size: int,
    dtype: str,
    again: bool,
    on_result: OnResult,
) -> dict[str, str]:
    """Measure the backbones without a stored cost, one after the other; return backbone → why it failed.

    Args:
        storage: of the experiments and the costs.
        experiment: measure only its backbones; None: those of all experiments.
        device: CPU or GPU to measure on.
        batch_size: images per batch.
        dtype: `float32` or `bfloat16`.
        again: measure backbones with a stored cost too, and replace it.
        on_result: called after every backbone.

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
                on_result(info.name, None, "measured before")
                continue
            cost = measure_inference(info, device=device, batch_size=batch_size, dtype=dtype)
        except (RaybenchError, MemoryError, torch.OutOfMemoryError) as error:
            failures[info.name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            on_result(info.name, None, failures[info.name])
            continue
        write_cost(storage, cost)
        on_result(info.name, cost, "")
    return failures
