"""Out of memory is known by what the libraries really raise; batches are halved, and the recipe says so."""

import numpy as np
import pytest
import torch

from raybench.memory import MAX_HALVINGS, Batches, is_out_of_memory

TOO_MUCH = 2**60
"""Bytes that no machine has."""


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(TOO_MUCH, dtype=torch.uint8),
        lambda: np.empty(TOO_MUCH, dtype=np.uint8),
        lambda: bytearray(TOO_MUCH),
    ],
    ids=["torch", "numpy", "python"],
)
def test_what_the_hosts_allocators_raise_is_known(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_a_gpu_raises_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(TOO_MUCH, dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("x")]
)
def test_a_bug_is_not_taken_for_it(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("protocol", "asked", "sizes"),
    [
        ("finetune", {"lr": 0.1}, [32, 16, 8]),
        ("linear_probe", {"batch_size": 1024}, [512, 256, 128]),
        ("finetune", {"batch_size": 2}, [1, 1, 1]),
    ],
)
def test_minibatches_are_halved_thrice_and_then_it_is_over(protocol, asked, sizes):
    batches = Batches(protocol, asked)
    assert batches.hparams == asked
    for size in sizes:
        assert batches.halve()
        assert batches.hparams == {**asked, "batch_size": size}
        assert batches.changed == {"batch_size": size}
    assert not batches.halve()
    assert batches.num_halvings == MAX_HALVINGS


def test_a_protocol_without_minibatches_keeps_its_recipe():
    batches = Batches("knn", {"feature_norm": "l2"})
    assert batches.halve()
    assert batches.hparams == {"feature_norm": "l2"}
    assert batches.changed == {}
