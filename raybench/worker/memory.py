"""Memory of a trial: its share of a GPU, detecting out-of-memory errors, and halving batches after them."""

import gc
from dataclasses import dataclass

import torch

from raybench.core.errors import ResourceError
from raybench.core.records import Hparams

CONTEXT_BYTES = 2**30
"""Part of a GPU's share that torch's limit does not cover: CUDA's context and its libraries."""
MAX_HALVINGS = 3
"""A trial that runs out of memory with an eighth of its batch has failed."""
TORCH_MESSAGES = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""The CPU allocator, CUDA's driver and cuBLAS raise a bare RuntimeError with one of these in it."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the host's or the GPU's memory is exhausted, so that smaller batches may help."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in TORCH_MESSAGES)


def claim_device(gpus: float) -> str:
    """Limit this process to its share of the GPU's memory and return `cuda`; without a GPU return `cpu`.

    Ray only counts fractions of a GPU and does not limit memory. With the limit, a trial that needs more
    than its share runs out of memory without harming its neighbours, and resumes with smaller batches.

    Raises:
        ResourceError: if Ray has given a GPU that PyTorch cannot use.
    """
    if not gpus:
        return "cpu"
    if not torch.cuda.is_available():
        raise ResourceError(
            f"Ray has given this trial {gpus:g} GPUs, but PyTorch {torch.__version__} finds none; the node's "
            f"driver must support CUDA {torch.version.cuda} (`nvidia-smi` says which one it does), and "
            "PyTorch must not be a CPU build."
        )
    total = torch.cuda.get_device_properties(0).total_memory
    share = min(gpus, 1.0)
    # At least half the share: on a small GPU with many trials CONTEXT_BYTES would otherwise exceed it.
    limit = 1.0 if share == 1.0 else max(share - CONTEXT_BYTES / total, share / 2)
    torch.cuda.set_per_process_memory_fraction(limit, 0)
    return "cuda"


@dataclass
class BatchReduction:
    """The batch sizes of one trial: as requested, or halved once for every time memory ran out."""

    minibatch: int | None
    """The protocol's default minibatch size; None if it has no minibatches."""
    requested: Hparams
    """The request's hyperparameters."""
    num_halvings: int = 0

    def halve(self) -> bool:
        """Halve the batches and release cached memory; return False after MAX_HALVINGS."""
        if self.num_halvings == MAX_HALVINGS:
            return False
        self.num_halvings += 1
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True

    @property
    def reduced(self) -> Hparams:
        """The minibatch size as a hyperparameter if it was halved, else empty.

        It changes the training, so the trial's record, provenance and recipe state it.
        """
        if not self.num_halvings or self.minibatch is None:
            return {}
        size = int(self.requested.get("batch_size", self.minibatch))
        return {"batch_size": max(1, size >> self.num_halvings)}

    @property
    def hparams(self) -> Hparams:
        """The requested hyperparameters with the reduced minibatch."""
        return {**self.requested, **self.reduced}
