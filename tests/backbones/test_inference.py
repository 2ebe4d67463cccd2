"""Inference cost against values by hand."""

import pytest
import torch
from torch import nn

from raybench.backbones.inference import flops_of, hardware_name, identity_of, measure_inference, peak_bytes
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone

CPU = torch.device("cpu")


def test_a_multiply_add_counts_as_two_operations():
    layer, conv = nn.Linear(7, 5), nn.Conv2d(3, 4, 3, padding=1)
    with torch.inference_mode():
        assert flops_of(lambda: layer(torch.rand(2, 7))) == 2 * 2 * 7 * 5
        assert flops_of(lambda: conv(torch.rand(1, 3, 6, 6))) == 2 * 6 * 6 * 4 * 3 * 9


def test_fused_attention_is_counted():
    query = torch.rand(1, 2, 10, 8)
    with torch.inference_mode():
        flops = flops_of(lambda: nn.functional.scaled_dot_product_attention(query, query, query))
    assert flops == 2 * (2 * 2 * 10 * 10 * 8)  # Two heads, two products of 10 × 10 × 8.


def test_peak_memory_is_the_largest_amount_allocated_at_once():
    thousand = torch.rand(250_000)  # 1 MB each.

    def call() -> torch.Tensor:
        one = thousand + 1
        two = one + 1
        del one
        three = two + 1
        return three[:1].clone()

    assert peak_bytes(call, CPU) == pytest.approx(2_000_000, abs=10_000)


@pytest.fixture(scope="module")
def cost():
    return measure_inference(find_backbone("mini_vit.random"), device=CPU, batch_size=4, num_batches=3)


def test_a_measured_cost_is_self_consistent(cost):
    backbone = load_backbone(find_backbone("mini_vit.random"))
    assert cost.num_params == backbone.num_params
    assert cost.images_per_second_low <= cost.images_per_second <= cost.images_per_second_high
    weights = sum(tensor.nbytes for tensor in backbone.parameters()) / 2**20
    assert cost.peak_memory_mib > weights
    assert cost.flops_g > 0
    assert cost.latency_ms > 0
    assert cost.identity == identity_of(backbone.digest, CPU, cost.input_size, 4, "float32")
    assert hardware_name(CPU) == cost.hardware
    assert f"{torch.get_num_threads()} threads" in cost.hardware


def test_operations_are_per_image_but_memory_grows_with_the_batch(cost):
    larger = measure_inference(find_backbone("mini_vit.random"), device=CPU, batch_size=16, num_batches=1)
    assert larger.flops_g == cost.flops_g
    assert larger.peak_memory_mib > cost.peak_memory_mib


def test_half_precision_takes_less_memory(cost):
    half = measure_inference(
        find_backbone("mini_vit.random"), device=CPU, batch_size=4, dtype="bfloat16", num_batches=1
    )
    assert half.peak_memory_mib < cost.peak_memory_mib
    assert half.identity != cost.identity
