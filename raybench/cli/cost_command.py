"""`raybench cost`."""

import argparse
from typing import TYPE_CHECKING

from raybench.cli import exit_codes
from raybench.cli.options import Verbs, at_least_one, storage_argument

if TYPE_CHECKING:
    from raybench.store.inference_costs import InferenceCost


def add(verbs: Verbs) -> None:
    """Add `cost` to the command line."""
    cost = verbs.add_parser(
        "cost", help="measure inference cost on this machine: FLOPs, images per second, latency, peak memory"
    )
    storage_argument(cost)
    cost.add_argument("--experiment", help="only the backbones of this experiment")
    cost.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    cost.add_argument("--batch-size", type=at_least_one, default=32, help="images per batch (default: 32)")
    cost.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    cost.add_argument("--threads", type=at_least_one, help="CPU threads (default: torch's choice)")
    cost.add_argument("--again", action="store_true", help="measure again what is already measured")
    cost.set_defaults(command=_cost)


def _cost(arguments: argparse.Namespace) -> int:
    import torch

    from raybench.backbones.inference import hardware_name
    from raybench.experiment.cost import choose_device, measure_costs
    from raybench.store.files import open_storage
    from raybench.store.layout import costs_dir

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    storage = open_storage(arguments.storage)
    print(f"{hardware_name(device)}, {arguments.dtype}, batches of {arguments.batch_size}; keep it idle")
    failures = measure_costs(
        storage,
        experiment=arguments.experiment,
        device=device,
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
        again=arguments.again,
        on_result=_print_cost,
    )
    print(f"costs     {costs_dir(storage)}   (raybench report {storage})")
    return exit_codes.FAILED_PAIRS if failures else exit_codes.DONE


def _print_cost(backbone: str, cost: "InferenceCost | None", reason: str) -> None:
    if cost is None:
        print(f"{backbone}: {reason}", flush=True)
        return
    print(
        f"{backbone}: {cost.images_per_second:.4g} images/s "
        f"({cost.images_per_second_low:.4g} to {cost.images_per_second_high:.4g}), {cost.latency_ms:.3g} ms, "
        f"{cost.flops_g:.3g} GFLOPs, {cost.peak_memory_mib:.4g} MiB",
        flush=True,
    )
