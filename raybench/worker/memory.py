"""Memory of a trial: its share of a GPU, detecting out-of-memory errors, and halving batches after them."""

import gc
from dataclasses import dataclass

import torch

from raybench.core.errors import ResourceError
from raybench.core.records import Hparams

CONTEXT_BYTES = 2**30
"""Part of a GPU's share that torch's limit does not cover: CUDA's context and its libraries."""
MAX_HALVINGS = 3
"""A trial that runs out of memory with an eighth of its batch has failed, unless it accumulates gradients."""
_FITTING: dict[tuple[str, int], int] = {}
"""(Backbone, images per forward pass) → number of halvings with which it last fitted in this process."""
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
    accumulates: bool = False
    """Whether the minibatch is passed in parts whose gradients are summed (`micro_batch`): then the parts are
    halved, down to single images, and the minibatch stays."""
    backbone: str = ""
    num_halvings: int = 0

    def recall(self, chosen: Hparams) -> None:
        """Start with the part that a trial of this backbone fitted with before.

        Args:
            chosen: of this trial's own record, if it was interrupted: it resumes with the same part.
        """
        if self.accumulates:
            self.num_halvings = _FITTING.get((self.backbone, self._size), 0)
            if (size := int(chosen.get("micro_batch", 0))) > 0:
                self.num_halvings = max(0, (self._size // size).bit_length() - 1)

    def remember(self) -> None:
        """Let later trials of this backbone in this process start with the part that fits."""
        if self.accumulates:
            _FITTING[self.backbone, self._size] = self.num_halvings

    def halve(self) -> bool:
        """Halve the batches and release cached memory; return False if that was done as often as allowed."""
        largest = self._size.bit_length() - 1 if self.accumulates else MAX_HALVINGS
        if self.num_halvings >= largest:
            return False
        self.num_halvings += 1
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True

    @property
    def reduced(self) -> Hparams:
        """The hyperparameter that was reduced and its value, else empty.

        It changes the training, or at least its rounding: the trial's record, provenance and recipe state it.
        """
        if not self.num_halvings or self.minibatch is None:
            return {}
        return {self._name: max(1, self._size >> self.num_halvings)}

    @property
    def hparams(self) -> Hparams:
        """The requested hyperparameters with the reduced minibatch."""
        return {**self.requested, **self.reduced}

    @property
    def _name(self) -> str:
        return "micro_batch" if self.accumulates else "batch_size"

    @property
    def _size(self) -> int:
        """Images per forward pass as requested."""
        size = int(self.requested.get("batch_size", self.minibatch or 1))
        part = int(self.requested.get("micro_batch", 0)) if self.accumulates else 0
        return min(part, size) if part else size
