"""Running out of memory: how it is recognised, and what a trial then makes smaller."""

import gc
from dataclasses import dataclass

import torch

from raybench.records import Hparams

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
