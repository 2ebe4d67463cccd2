"""Measure the inference cost of a backbone: operations, time and memory of a forward pass."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raybench.backbones.backbone import Backbone
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.store.inference_costs import InferenceCost

NUM_WARM_UP = 3
"""Untimed batches: first calls choose algorithms and fill caches."""
NUM_BATCHES = 20
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MIB = 2**20


def hardware_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's with the number of threads that torch uses."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{_cpu_name()}, {torch.get_num_threads()} threads"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure_inference(
    info: BackboneInfo,
    *,
    device: torch.device,
    batch_size: int = 32,
    dtype: str = "float32",
    num_batches: int = NUM_BATCHES,
) -> InferenceCost:
    """Load a backbone and measure the cost of its features on `device`, which should be otherwise idle.

    Args:
        info: the catalogue row; its preprocessing gives the input size.
        device: `cpu` or a CUDA device.
        batch_size: images per batch, at least 1.
        dtype: one of DTYPES.
        num_batches: timed batches, at least 1.

    Raises:
        CheckpointError: the weights are not available.
        torch.OutOfMemoryError: the batch does not fit.
    """
    backbone = load_backbone(info, device=device).freeze().to(DTYPES[dtype])
    size = backbone.preprocessing.input_size
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch_size, 3, size, size, generator=generator).to(device, DTYPES[dtype])
    with torch.inference_mode():
        flops = flops_of(lambda: backbone(images[:1]))
        memory = _bytes_of(backbone) + images.nbytes + peak_bytes(lambda: backbone(images), device)
        seconds = timings(lambda: backbone(images), device, num_batches)
        single = timings(lambda: backbone(images[:1]), device, num_batches)
    quick, middle, slow = np.quantile(seconds, [0.25, 0.5, 0.75])
    return InferenceCost(
        backbone=info.name,
        checkpoint_digest=backbone.digest,
        hardware=hardware_name(device),
        input_size=size,
        batch_size=batch_size,
        dtype=dtype,
        num_params=backbone.num_params,
        flops_g=flops / 1e9,
        images_per_second=float(batch_size / middle),
        images_per_second_low=float(batch_size / slow),
        images_per_second_high=float(batch_size / quick),
        latency_ms=1e3 * float(np.median(single)),
        peak_memory_mib=memory / MIB,
        num_batches=num_batches,
        versions={name: version(name) for name in ("raybench", "torch", "timm")},
    )


def identity_of(
    backbone_digest: str, device: torch.device, input_size: int, batch_size: int, dtype: str
) -> tuple[str, str, int, int, str]:
    """Identity that a measurement with these settings would have: see `InferenceCost.identity`."""
    return (backbone_digest, hardware_name(device), input_size, batch_size, dtype)


def flops_of(call: Callable[[], object]) -> int:
    """Count the floating-point operations of `call` with torch's counter: two per multiply-add."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def timings(call: Callable[[], object], device: torch.device, num_batches: int) -> list[float]:
    """Time `num_batches` calls after NUM_WARM_UP untimed ones, in seconds; a GPU is synchronised."""
    seconds = []
    for number in range(NUM_WARM_UP + num_batches):
        _synchronise(device)
        started = time.perf_counter()
        call()
        _synchronise(device)
        if number >= NUM_WARM_UP:
            seconds.append(time.perf_counter() - started)
    return seconds


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Peak memory that `call` adds to what is already allocated, bytes.

    Read from torch's profiler on the CPU, which records every allocation, and from the allocator on CUDA.
    """
    if device.type == "cuda":
        _synchronise(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        _synchronise(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    # Kineto logs the absence of a GPU to standard error unless this is set before its first use.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        call()
    results = profiler.profiler.kineto_results if profiler.profiler is not None else None
    events = results.events() if results is not None else []
    changes = sorted(
        ((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"),
        key=lambda change: change[0],
    )
    live = np.cumsum([0, *(num_bytes for _, num_bytes in changes)])
    return int(live.max())


def _bytes_of(model: nn.Module | Backbone) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
