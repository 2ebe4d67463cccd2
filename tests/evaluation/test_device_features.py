import threading

import numpy as np
import pytest
import torch

from raybench.evaluation import device_features
from raybench.evaluation.device_features import DeviceFeatures
from raybench.evaluation.linear_probe import linear_probe

CPU = torch.device("cpu")
FEATURES = np.arange(20, dtype=np.float32).reshape(10, 2)
SOLVERS = [
    {"solver": solver, "feature_norm": norm, "batch_size": 64, "epochs": 3}
    for solver, norm in (("sgd", "standardize"), ("adamw", "none"), ("lbfgs", "l2"), ("ridge", "standardize"))
]


@pytest.fixture
def streamed(monkeypatch):
    """No features may lie on the device."""
    monkeypatch.setattr(device_features, "resident_limit", lambda device: 0)


def test_the_cpu_reads_the_map_in_place():
    features = DeviceFeatures(FEATURES, CPU)
    assert not features.is_streamed
    [(part, rows)] = features.blocks(100)
    assert part == slice(0, 100)
    assert rows.data_ptr() == FEATURES.ctypes.data


def test_features_within_the_limit_stay_on_the_device(monkeypatch):
    for limit, is_streamed in ((80, False), (79, True)):
        monkeypatch.setattr(device_features, "resident_limit", lambda device, limit=limit: limit)
        assert DeviceFeatures(FEATURES, CPU).is_streamed is is_streamed


def test_blocks_and_batches_are_the_rows_in_order(streamed):
    features = DeviceFeatures(FEATURES, CPU)
    blocks = list(features.blocks(4))
    assert [rows.shape[0] for _, rows in blocks] == [4, 4, 2]
    assert all(np.array_equal(rows, FEATURES[part]) for part, rows in blocks)
    batches = [torch.tensor([3, 1]), torch.tensor([9])]
    found = list(features.batches(batches))
    assert [rows.tolist() for rows in found] == [[[6, 7], [2, 3]], [[18, 19]]]
    found[0].zero_()
    assert FEATURES[3, 0] == 6
    assert list(features.batches([])) == []


def test_blocks_are_no_larger_than_the_limit_of_a_block(streamed, monkeypatch):
    monkeypatch.setattr(device_features, "STREAMED_BYTES", 24)
    assert [len(rows) for _, rows in DeviceFeatures(FEATURES, CPU).blocks(100)] == [3, 3, 3, 1]


def test_an_abandoned_stream_leaves_no_thread(streamed):
    before = threading.active_count()
    stream = DeviceFeatures(FEATURES, CPU).blocks(1)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_the_limit_is_half_of_the_share_of_a_gpu(monkeypatch):
    class Card:
        total_memory = 80 * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 0.125)
    assert device_features.resident_limit(torch.device("cuda", 0)) == 5 * 2**30
    assert device_features.resident_limit(CPU) is None


@pytest.mark.parametrize("hparams", SOLVERS, ids=lambda hparams: hparams["solver"])
def test_streamed_features_give_the_same_last_bit(context_of, digits, hparams, monkeypatch):
    context, found = context_of(digits), []
    for limit in (None, 0):
        monkeypatch.setattr(device_features, "resident_limit", lambda device, limit=limit: limit)
        probe = linear_probe(context, hparams, 0, 3)
        found.append((list(probe.run_epochs()), probe.predict("val").logits))
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][1], found[1][1])
