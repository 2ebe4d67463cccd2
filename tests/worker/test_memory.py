"""Out of memory is known by what the libraries really raise; batches are halved, and the recipe says so."""

import numpy as np
import pytest
import torch

from raybench.core.errors import ResourceError
from raybench.worker import memory
from raybench.worker.memory import CONTEXT_BYTES, MAX_HALVINGS, BatchReduction, claim_device, is_out_of_memory

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
def test_errors_of_the_hosts_allocators_are_recognised(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_errors_of_a_gpu_are_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(TOO_MUCH, dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("x")]
)
def test_other_errors_are_not_out_of_memory(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("minibatch", "requested", "sizes"),
    [
        (64, {"lr": 0.1}, [32, 16, 8]),
        (256, {"batch_size": 1024}, [512, 256, 128]),
        (64, {"batch_size": 2}, [1, 1, 1]),
    ],
)
def test_minibatches_are_halved_at_most_three_times(minibatch, requested, sizes):
    batches = BatchReduction(minibatch, requested)
    assert batches.hparams == requested
    for size in sizes:
        assert batches.halve()
        assert batches.hparams == {**requested, "batch_size": size}
        assert batches.reduced == {"batch_size": size}
    assert not batches.halve()
    assert batches.num_halvings == MAX_HALVINGS


@pytest.mark.parametrize(
    ("requested", "sizes"),
    [
        ({"lr": 0.1}, [32, 16, 8, 4, 2, 1]),
        ({"batch_size": 1024, "micro_batch": 8}, [4, 2, 1]),
        ({"batch_size": 4, "micro_batch": 128}, [2, 1]),
    ],
)
def test_with_accumulation_the_parts_are_halved_down_to_one_image_and_the_batch_stays(requested, sizes):
    batches = BatchReduction(64, requested, accumulates=True, backbone="unheard of")
    for size in sizes:
        assert batches.halve()
        assert batches.hparams == {**requested, "micro_batch": size}
    assert not batches.halve()


@pytest.fixture
def forgetful(monkeypatch):
    monkeypatch.setattr(memory, "_FITTING", {})


def test_later_trials_of_a_backbone_start_with_the_part_that_fitted(forgetful):
    first = BatchReduction(64, {"batch_size": 256}, accumulates=True, backbone="a")
    assert first.halve()
    assert first.halve()
    first.remember()
    expected = {("a", 256): 64, ("a", 128): None, ("b", 256): None}
    for (backbone, batch_size), size in expected.items():
        later = BatchReduction(64, {"batch_size": batch_size}, accumulates=True, backbone=backbone)
        later.recall({})
        assert later.reduced.get("micro_batch") == size


@pytest.mark.parametrize("size", [32, 25, 6, 1])
def test_an_interrupted_trial_resumes_with_the_part_of_its_record(forgetful, size):
    batches = BatchReduction(64, {"batch_size": 50}, accumulates=True, backbone="a")
    while batches.reduced.get("micro_batch", 50) > size:
        assert batches.halve()
    resumed = BatchReduction(64, {"batch_size": 50}, accumulates=True, backbone="a")
    resumed.recall({**batches.reduced, "epoch": 3})
    assert resumed.reduced == batches.reduced


def test_without_accumulation_nothing_is_remembered(forgetful):
    first = BatchReduction(256, {}, backbone="a")
    assert first.halve()
    first.remember()
    later = BatchReduction(256, {}, backbone="a")
    later.recall({"batch_size": 128})
    assert later.reduced == {}


def test_a_protocol_without_minibatches_keeps_its_hyperparameters():
    batches = BatchReduction(None, {"feature_norm": "l2"})
    assert batches.halve()
    assert batches.hparams == {"feature_norm": "l2"}
    assert batches.reduced == {}


def test_a_trial_without_a_gpu_does_not_call_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("CUDA was called"))
    assert claim_device(0.0) == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_pytorch_cannot_use_is_refused_with_the_cuda_version_it_needs():
    with pytest.raises(ResourceError, match=r"given this trial 0\.5 GPUs, but PyTorch .* finds none.*CUDA"):
        claim_device(0.5)


@pytest.mark.parametrize(
    ("gpus", "total", "limit"),
    [
        (1.0, 80 * CONTEXT_BYTES, 1.0),
        (2.0, 80 * CONTEXT_BYTES, 1.0),
        (0.5, 80 * CONTEXT_BYTES, 0.5 - 1 / 80),
        (0.125, 80 * CONTEXT_BYTES, 0.125 - 1 / 80),
        (0.125, 8 * CONTEXT_BYTES, 0.0625),
    ],
)
def test_trials_that_share_a_gpu_are_limited_to_their_shares_of_its_memory(monkeypatch, gpus, total, limit):
    """The limit passed to torch; a test below checks on a GPU that it is enforced."""
    limits = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: type("Properties", (), {"total_memory": total})
    )
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda fraction, device: limits.append((fraction, device)),
    )
    assert claim_device(gpus) == "cuda"
    assert limits == [(pytest.approx(limit), 0)]
    num_sharing = int(1 / gpus) if gpus < 1 else 1
    assert num_sharing * limits[0][0] <= 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_using_more_than_the_share_is_out_of_memory():
    claim_device(0.125)
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            torch.empty(
                torch.cuda.get_device_properties(0).total_memory // 4, dtype=torch.uint8, device="cuda"
            )
        assert is_out_of_memory(caught.value)
    finally:
        claim_device(1.0)
