"""Memory: a trial's share of a GPU's, how running out of it is recognised, and what is then made smaller."""

import gc
from dataclasses import dataclass

import torch

from raybench.core.errors import ResourceError
from raybench.core.records import Hparams

CONTEXT_BYTES = 2**30
"""Left of a share of a GPU for what torch's limit does not see: CUDA's context and its libraries."""
MAX_HALVINGS = 3
"""After running out of memory three times more, with an eighth of the batch, a trial has failed."""
MINIBATCHES = {"finetune": 64, "linear_probe": 256}
"""Protocol that trains with minibatches → their size where a trial's hyperparameters name none."""
SAID_BY_TORCH = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""The CPU allocator, CUDA's driver and cuBLAS raise a bare RuntimeError with one of these in it."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether smaller batches may mend it: the host's memory or the GPU's is spent."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID_BY_TORCH)


def claim_device(gpus: float) -> str:
    """`cuda` with this process held to its share of the memory, or `cpu` without a GPU.

    Ray only counts fractions of a GPU; nothing else keeps trials that share one out of each other's memory.
    Who wants more than its share runs out of memory alone, and goes on with smaller batches.

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
    # At least half the share: a small GPU cut into many would otherwise have nothing left.
    limit = 1.0 if share == 1.0 else max(share - CONTEXT_BYTES / total, share / 2)
    torch.cuda.set_per_process_memory_fraction(limit, 0)
    return "cuda"


@dataclass
class Batches:
    """How large one trial's batches are: as asked for, or halved as often as memory ran out."""

    protocol: str
    asked: Hparams
    """The request's hyperparameters."""
    num_halvings: int = 0

    def halve(self) -> bool:
        """Make them smaller and give back what memory is cached; False once that was done thrice."""
        if self.num_halvings == MAX_HALVINGS:
            return False
        self.num_halvings += 1
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True

    @property
    def changed(self) -> Hparams:
        """The minibatch that a trial trains with instead of the one asked for; empty if there is no other.

        Smaller ones are another recipe: the trial's record, its provenance and the pair's recipe say so.
        """
        if not self.num_halvings or self.protocol not in MINIBATCHES:
            return {}
        size = int(self.asked.get("batch_size", MINIBATCHES[self.protocol]))
        return {"batch_size": max(1, size >> self.num_halvings)}

    @property
    def hparams(self) -> Hparams:
        """The request's, with `changed`."""
        return {**self.asked, **self.changed}
