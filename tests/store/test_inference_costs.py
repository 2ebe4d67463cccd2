"""Inference costs: written, replaced, read, and refused if damaged."""

from dataclasses import replace

import pytest

from raybench.core.errors import StorageError
from raybench.store.inference_costs import InferenceCost, cost_file, read_costs, write_cost

COST = InferenceCost(
    backbone="b",
    checkpoint_digest="c",
    hardware="Abacus, 1 threads",
    input_size=32,
    batch_size=8,
    dtype="float32",
    num_params=10,
    flops_g=0.5,
    images_per_second=100.0,
    images_per_second_low=90.0,
    images_per_second_high=110.0,
    latency_ms=12.0,
    peak_memory_mib=3.0,
    num_batches=5,
    versions={"torch": "2.0"},
)


def test_costs_are_read_as_they_were_written(any_storage):
    other = replace(COST, backbone="a", checkpoint_digest="d")
    write_cost(any_storage, COST)
    write_cost(any_storage, other)
    assert read_costs(any_storage) == [other, COST]


def test_a_new_cost_replaces_that_of_the_same_machine_only(any_storage):
    write_cost(any_storage, COST)
    write_cost(any_storage, replace(COST, images_per_second=50.0))
    write_cost(any_storage, replace(COST, hardware="Faster"))
    assert sorted(cost.images_per_second for cost in read_costs(any_storage)) == [50.0, 100.0]


def test_a_storage_without_costs_gives_an_empty_list(any_storage):
    assert read_costs(any_storage) == []


def test_a_damaged_file_is_named(tmp_path):
    write_cost(tmp_path, COST)
    file = cost_file(tmp_path, COST.identity)
    file.write_text(file.read_text()[:40])
    with pytest.raises(StorageError, match=rf"{file.name}.*run `raybench cost` again"):
        read_costs(tmp_path)
